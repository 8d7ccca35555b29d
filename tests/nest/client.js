// A client of a NestJS system: reads commands from standard input, a JSON object a line, and prints what came of each.
//
//   {"send": PATTERN, "data": ...}    as ClientProxy.send; prints {"response": [...]}, all that came, or {"err": ...}
//   {"emit": PATTERN, "data": ...}    as ClientProxy.emit; prints {"emitted": true}
//   {"raw": SUBJECT, "text": "..."}   a message that no Nest client writes; prints {"reply": "..."} or {"err": ...}
'use strict';
require('reflect-metadata');
const { Logger } = require('@nestjs/common');
const { ClientProxyFactory, Transport } = require('@nestjs/microservices');
const { connect, StringCodec } = require('nats');
const { lastValueFrom, toArray } = require('rxjs');
const { createInterface } = require('node:readline');

const servers = [process.argv[2]];
const text = StringCodec();

async function main() {
  // What it logs otherwise goes where the answers do.
  Logger.overrideLogger(['error']);
  const client = ClientProxyFactory.create({ transport: Transport.NATS, options: { servers } });
  await client.connect();
  const connection = await connect({ servers });
  const answer = async (command) => {
    if ('send' in command) {
      return { response: await lastValueFrom(client.send(command.send, command.data).pipe(toArray())) };
    }
    if ('emit' in command) {
      await lastValueFrom(client.emit(command.emit, command.data), { defaultValue: null });
      await client.natsClient.flush();
      return { emitted: true };
    }
    const reply = await connection.request(command.raw, text.encode(command.text), { timeout: 30000 });
    return { reply: text.decode(reply.data) };
  };
  console.log(JSON.stringify({ ready: true }));
  // One after the other, so that lines and answers stand in the same order.
  for await (const line of createInterface({ input: process.stdin })) {
    const result = await answer(JSON.parse(line)).catch((err) => ({ err: err instanceof Error ? { message: err.message } : err }));
    console.log(JSON.stringify(result));
  }
  await client.close();
  await connection.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
