//! How a manifest writes limits, and the errors for wrong ones.

use super::ByteSize;
use crate::tests::{app, with_component};
use std::time::Duration;

fn with_limits(text: &str) -> String {
    with_component(&format!("[component.a.tool.souk.limits]\n{text}"))
}

#[test]
fn limits_are_written_as_text_with_a_unit_or_as_bytes_and_milliseconds() {
    let limits = |text: &str| app(&with_limits(text)).component("a").limits;
    let text =
        limits("memory = \"32MiB\"\ncall_deadline = \"1m 30s\"\nwait = \"250ms\"\nidle = \"1h\"\ninstances = 8\n");
    assert_eq!(text, limits("memory = 33554432\ncall_deadline = 90_000\nwait = 250\nidle = 3600000\ninstances = 8\n"));
    assert_eq!((text.memory, text.call_deadline), (ByteSize::mib(32), Duration::from_secs(90)));
}

#[test]
fn a_wrong_limit_is_an_error_with_its_line_the_range_and_the_default() {
    let wrong = [
        ("memory = 1", "is 1 B, but must be from 1 MiB to 1 GiB", "a whole number of bytes, from 1 MiB to 1 GiB"),
        ("memory = -1", "out of range", "whole number"),
        ("memory = 99999999999999999999", "out of range", "whole number"),
        ("memory = 1.5", "must not be of type float", "such as \"32MiB\""),
        ("memory = \"64 apples\"", "is \"64 apples\", which is not a size", "such as \"32MiB\""),
        ("memory = \"\"", "is \"\", which is not a size", "the default is 64 MiB"),
        ("memory = \"-1MiB\"", "which is not a size", "whole number of bytes"),
        ("memory = \"2GiB\"", "is 2 GiB, but must be", "from 1 MiB to 1 GiB"),
        ("wait = \"30\"", "is \"30\", which is not a duration with its unit", "such as \"30s\""),
        ("wait = \"soon\"", "is \"soon\", which is not a duration", "whole number of milliseconds"),
        ("wait = \"2min\"", "is 2m, but must be from 0s to 1m", "the default is 2s"),
        ("wait = 60001", "is 1m 1ms, but must be", "from 0s to 1m"),
        (
            "instances = \"8\"",
            "is \"8\", which is not a number without quotes",
            "a whole number from 1 to 512 instances",
        ),
        ("instances = 0", "is 0 instances, but must be from 1 to 512 instances", "the default is 64 instances"),
        ("memroy = 1", "unknown limit `memroy`", "did you mean `memory`?"),
    ];
    for (text, message, fix) in wrong {
        let errors = app(&with_limits(text)).errors().0;
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        let error = &errors[0];
        assert_eq!((error.line, error.component.as_deref()), (Some(9), Some("a")), "{text}: {error}");
        assert!(error.message.contains(message) && error.fix.contains(fix), "{text}: {error}");
    }
}

#[test]
fn each_default_lies_in_its_range() {
    for limit in super::ComponentLimits::TABLE.iter().chain(super::EdgeLimits::TABLE) {
        assert!(limit.default.is_within(limit.range.0, limit.range.1), "{limit:?}");
    }
}
