//! Which requests have a trace, according to OpenTelemetry's environment variables.
//!
//! Without these variables, and with nobody to look at traces (no administration listener and no collector), there are
//! no traces, and they cost nothing.

use anyhow::bail;
use souk_bindings::trace::Tracer;

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

/// The tracer that the environment asks for; `watched` means that somebody could look at traces.
///
/// # Errors
/// When a variable has an invalid value.
pub(crate) fn tracer(watched: bool) -> anyhow::Result<Tracer> {
    from(|name| std::env::var(name).ok().filter(|value| !value.is_empty()), watched)
}

fn from(variable: impl Fn(&str) -> Option<String>, watched: bool) -> anyhow::Result<Tracer> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(Tracer::off());
    }
    let argument = variable(ARGUMENT);
    let ratio = || match argument.as_deref().map(str::parse::<f64>) {
        None => Ok(1.0),
        Some(Ok(ratio)) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => bail!("{ARGUMENT} is not a number from 0 to 1\n  fix: use for example {ARGUMENT}=0.1, for a tenth"),
    };
    let Some(sampler) = variable(SAMPLER) else {
        return Ok(if watched { Tracer::sampled(1.0, true) } else { Tracer::off() });
    };
    Ok(match sampler.as_str() {
        "always_off" => Tracer::off(),
        "always_on" => Tracer::sampled(1.0, false),
        "traceidratio" => Tracer::sampled(ratio()?, false),
        "parentbased_always_on" => Tracer::sampled(1.0, true),
        "parentbased_always_off" => Tracer::sampled(0.0, true),
        "parentbased_traceidratio" => Tracer::sampled(ratio()?, true),
        other => bail!(
            "{SAMPLER}={other} is not supported\n  fix: use always_on, always_off, traceidratio or \
             parentbased_traceidratio"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)], watched: bool) -> anyhow::Result<Tracer> {
        let value = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string());
        from(value, watched)
    }

    #[test]
    fn there_are_traces_where_somebody_could_look_or_the_environment_asks_for_them() {
        let on = |pairs: &[(&str, &str)], watched| with(pairs, watched).unwrap().root(None).is_recorded();
        assert!(!with(&[], false).unwrap().is_on());
        assert!(on(&[], true) && on(&[(SAMPLER, "always_on")], false));
        assert!(!on(&[(SAMPLER, "always_off")], true) && !on(&[("OTEL_SDK_DISABLED", "true")], true));
        assert!(!on(&[(SAMPLER, "traceidratio"), (ARGUMENT, "0")], true));
        assert!(on(&[(SAMPLER, "parentbased_traceidratio")], true));
        assert!(!on(&[(SAMPLER, "parentbased_always_off")], true));
    }

    #[test]
    fn a_sampler_that_nobody_knows_is_refused_with_its_fix() {
        for pairs in [&[(SAMPLER, "often")][..], &[(SAMPLER, "traceidratio"), (ARGUMENT, "7")]] {
            let error = with(pairs, true).err().unwrap().to_string();
            assert!(error.contains("fix: use"), "{error}");
        }
    }
}
