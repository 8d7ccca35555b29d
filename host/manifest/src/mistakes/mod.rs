//! A table of mistakes: each wrong manifest is one error that names line, component and fix.

mod application;
mod components;
mod links;
mod triggers;
mod variables;

use super::tests::{HEAD, app, load, with_component};

/// A manifest with one mistake: its text, and the line, component, message and fix of its only error.
#[derive(Clone)]
struct Mistake(String, usize, Option<&'static str>, &'static str, &'static str);

fn in_component(more: &str, line: usize, message: &'static str, fix: &'static str) -> Mistake {
    Mistake(with_component(more), line, Some("a"), message, fix)
}

fn beside_component(more: &str, line: usize, message: &'static str, fix: &'static str) -> Mistake {
    Mistake(with_component(more), line, None, message, fix)
}

fn in_application(text: &str, line: usize, message: &'static str, fix: &'static str) -> Mistake {
    Mistake(text.to_owned(), line, None, message, fix)
}

fn in_trigger(text: &str, line: usize, message: &'static str, fix: &'static str) -> Mistake {
    let text = format!("{HEAD}component.a.source = \"a.wasm\"\n[[trigger.http]]\n{text}");
    Mistake(text, line, Some("a"), message, fix)
}

/// An `entry` of `[application.tool.souk.variables]`, in line 5, beside the declaration of a variable.
fn generated(entry: &str, declared: &str, message: &'static str, fix: &'static str) -> Mistake {
    let head = "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.souk.variables]\n";
    Mistake(format!("{head}{entry}\n[variables]\n{declared}\n"), 5, None, message, fix)
}

/// An `entry` of `[application.tool.souk.warnings]`, in line 5, beside the variable `open`.
fn warned(entry: &str, message: &'static str, fix: &'static str) -> Mistake {
    let head = "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.souk.warnings]\n";
    Mistake(format!("{head}{entry}\n[variables]\nopen = {{ default = \"\" }}\n"), 5, None, message, fix)
}

/// A second component, and a dependency of `a` that is `value`, in line 11.
fn dependency(value: &str) -> String {
    format!("{B}[component.a.dependencies]\n\"n:p/i@1.0.0\" = {value}")
}

const B: &str = "[component.b]\nsource = \"b.wasm\"\n";

#[test]
fn every_mistake_is_one_error_with_line_component_and_fix() {
    let mistakes = [
        application::mistakes(),
        variables::mistakes(),
        triggers::mistakes(),
        components::mistakes(),
        links::mistakes(),
    ]
    .concat();
    assert!(mistakes.len() >= 130);
    let mut wrong = String::new();
    for Mistake(text, line, component, message, fix) in &mistakes {
        let app = app(text);
        let errors = match load(&app.options) {
            Ok(_) => {
                wrong += &format!("\n--- accepted:\n{text}\n");
                continue;
            }
            Err(errors) => errors,
        };
        let fits = matches!(errors.0.as_slice(), [error]
            if error.line == Some(*line)
                && error.component.as_deref() == *component
                && error.message.contains(message)
                && error.fix.contains(fix)
                && error.file == app.options.manifest);
        if !fits {
            wrong += &format!("\n--- wanted line {line}, {component:?}, {message:?}, {fix:?} of\n{text}\n{errors}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
