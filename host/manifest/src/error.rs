//! Mistakes in a manifest: each has the file, the line, the component, the problem and the fix.
//!
//! All readers report to one [`Report`] and continue, so that a user sees all mistakes at once. No message quotes the
//! value of a secret variable or a line of a `.env` file.

use crate::{Application, Component};
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// One mistake or warning in one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// The line, from 1; `None` for the file as a whole.
    pub line: Option<usize>,
    /// The component, if the mistake is in one.
    pub component: Option<String>,
    /// What is wrong.
    pub message: String,
    /// How to fix it.
    pub fix: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(component) = &self.component {
            write!(f, " component `{component}`:")?;
        }
        write!(f, " {}\n  fix: {}", self.message, self.fix)
    }
}

impl Application {
    /// A mistake in `component` or its code, at the line of its table in the manifest.
    pub fn mistake(&self, component: &Component, message: impl Into<String>, fix: impl Into<String>) -> Diagnostic {
        self.mistake_at(component.line, &component.name, message, fix)
    }

    /// A mistake in `component` at `line` of the manifest.
    pub fn mistake_at(
        &self,
        line: usize,
        component: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic {
            file: self.manifest.clone(),
            line: Some(line),
            component: Some(component.to_owned()),
            message: message.into(),
            fix: fix.into(),
        }
    }
}

/// All mistakes that were found; never empty. Sorted by file and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestErrors(pub Vec<Diagnostic>);

impl ManifestErrors {
    /// `Ok` if `mistakes` is empty.
    ///
    /// # Errors
    /// The mistakes, sorted and without duplicates, if there are any.
    pub fn check(mut mistakes: Vec<Diagnostic>) -> Result<(), Self> {
        mistakes.sort();
        mistakes.dedup();
        if mistakes.is_empty() { Ok(()) } else { Err(ManifestErrors(mistakes)) }
    }
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestErrors {}

/// One file with the offsets of its lines, to turn a span into a line number.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub path: PathBuf,
    line_starts: Vec<usize>,
}

impl Source {
    pub(crate) fn new(path: impl Into<PathBuf>, text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Source { path: path.into(), line_starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The line in which a span begins, from 1.
    pub(crate) fn line(&self, span: &Range<usize>) -> usize {
        self.line_starts.partition_point(|start| *start <= span.start)
    }
}

/// Collects the mistakes and warnings of all files.
#[derive(Debug, Default)]
pub(super) struct Report {
    errors: RefCell<Vec<Diagnostic>>,
    warnings: RefCell<Vec<Diagnostic>>,
}

impl Report {
    pub(crate) fn error(&self, diagnostic: Diagnostic) {
        self.errors.borrow_mut().push(diagnostic);
    }

    pub(crate) fn warning(&self, diagnostic: Diagnostic) {
        self.warnings.borrow_mut().push(diagnostic);
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// The warnings, or the errors when there are any.
    pub(crate) fn finish(self) -> Result<Vec<Diagnostic>, ManifestErrors> {
        let mut errors = self.errors.into_inner();
        if errors.is_empty() {
            let mut warnings = self.warnings.into_inner();
            warnings.sort();
            return Ok(warnings);
        }
        errors.sort();
        Err(ManifestErrors(errors))
    }
}
