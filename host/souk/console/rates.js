// What happened between two answers of `/v1/map`, which has counts since the start.

const WINDOW_S = 10;
let samples = [];

// The edges, components and resources of `map` with rate, errors a second and p99 over the last seconds.
export function rates(map) {
  const now = { at: map.uptime, map, counts: counts(map) };
  // A host that was started again counts from zero.
  samples = samples.filter((sample) => sample.at <= now.at && sample.at > now.at - WINDOW_S - 3);
  const before = samples[0];
  samples.push(now);
  const seconds = before ? now.at - before.at : 0;
  const live = (key, measures) => {
    const old = before?.counts.get(key);
    if (!(seconds > 0)) return { rate: null, errorRate: null, p99: null };
    // The counts of a component's old version end with it, so a sum can become smaller.
    const calls = Math.max(0, measures.calls - (old?.calls ?? 0));
    const errors = Math.max(0, measures.errors - (old?.errors ?? 0));
    return { rate: calls / seconds, errorRate: errors / seconds, p99: quantile(0.99, calls, measures.buckets, old?.buckets ?? []) };
  };
  const named = (kind, all) => new Map(all.map((one) => [one.name, live(`${kind} ${one.name}`, one)]));
  return {
    seconds,
    edges: map.edges.map((edge) => ({ ...edge, ...live(edgeKey(edge), edge) })),
    components: named("component", map.components),
    resources: named("resource", map.resources),
  };
}

const edgeKey = ({ from, to, kind }) => `edge ${kind} ${from} > ${to}`;

const counts = (map) => new Map([
  ...map.edges.map((edge) => [edgeKey(edge), edge]),
  ...map.components.map((one) => [`component ${one.name}`, one]),
  ...map.resources.map((one) => [`resource ${one.name}`, one]),
]);

// The least bound that so many calls were within; `null` without calls.
function quantile(part, calls, buckets, old) {
  if (calls <= 0) return null;
  const found = buckets.find(([, count], place) => count - (old[place]?.[1] ?? 0) >= part * calls);
  return found ? found[0] : Infinity;
}
