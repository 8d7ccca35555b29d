//! Lists by page and limit, as in the NestJS system's services. Both numbers may have a fraction, which those services
//! accept, so that no client gets a new error.

use crate::exception;
use serde::{Deserialize, Serialize, Serializer};

/// The most entries of a page, as in the contracts.
const MAX_LIMIT: f64 = 1000.0;

/// A page of a list, from 1, and the number of entries per page.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Paging {
    /// The page.
    #[serde(default = "default_page")]
    pub page: f64,
    /// The most entries of a page.
    #[serde(default = "default_limit")]
    pub limit: f64,
}

fn default_page() -> f64 {
    1.0
}

fn default_limit() -> f64 {
    10.0
}

impl Paging {
    /// The paging from the fields of a message, with defaults.
    pub fn of(page: Option<f64>, limit: Option<f64>) -> Self {
        Paging { page: page.unwrap_or_else(default_page), limit: limit.unwrap_or_else(default_limit) }
    }

    /// Which pages of a contract to request, and which of their entries make up this page.
    ///
    /// # Errors
    /// The exception to answer with, when there is no such page.
    pub fn window(&self) -> Result<Window, String> {
        if !(self.page >= 1.0 && self.page <= f64::from(u32::MAX)) {
            return Err(exception(400, "Invalid data: page must be a number of at least 1"));
        }
        if !(self.limit > 0.0 && self.limit <= MAX_LIMIT) {
            return Err(exception(400, format!("Invalid data: limit must be above 0 and at most {MAX_LIMIT}")));
        }
        // The numbers of entries to skip and to return are rounded down, as in the NestJS system's database.
        let (skip, take) = (((self.page - 1.0) * self.limit) as u64, self.limit as u32);
        let size = take.max(1);
        let first = u32::try_from(skip / u64::from(size) + 1).unwrap_or(u32::MAX);
        let skip = usize::try_from(skip % u64::from(size)).unwrap_or_default();
        Ok(Window { size, first, skip, take: usize::try_from(take).unwrap_or_default() })
    }

    /// The number of the last page of `total` entries.
    pub fn last_page(&self, total: u64) -> u64 {
        (total as f64 / self.limit).ceil() as u64
    }
}

/// A part of a list, from one or two pages of a contract.
#[derive(Debug, PartialEq, Eq)]
pub struct Window {
    /// The limit to request from the contract.
    pub size: u32,
    first: u32,
    /// How many entries of the first page are skipped.
    skip: usize,
    take: usize,
}

impl Window {
    /// The numbers of the contract's pages to request, in order.
    pub fn pages(&self) -> impl Iterator<Item = u32> + use<> {
        let second = (self.skip > 0).then(|| self.first.saturating_add(1));
        std::iter::once(self.first).chain(second)
    }

    /// Cuts this part out of the entries of all its pages.
    pub fn cut<T>(&self, entries: Vec<T>) -> Vec<T> {
        entries.into_iter().skip(self.skip).take(self.take).collect()
    }
}

/// A number, serialized as in JavaScript: without a fraction if it has none.
#[derive(Debug, Clone, Copy)]
pub struct Number(pub f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 { output.serialize_u64(self.0 as u64) } else { output.serialize_f64(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entries of `0..total` on the page `page` with `limit`.
    fn listed(total: u32, page: f64, limit: f64) -> Vec<u32> {
        let window = Paging { page, limit }.window().unwrap();
        let of = |page: u32| (0..total).skip((window.size * (page - 1)) as usize).take(window.size as usize);
        window.cut(window.pages().flat_map(of).collect())
    }

    #[test]
    fn whole_pages_are_pages_of_the_contract() {
        assert_eq!(Paging::of(None, None).window(), Ok(Window { size: 10, first: 1, skip: 0, take: 10 }));
        let last = Paging::of(Some(f64::from(u32::MAX)), Some(1000.0)).window().unwrap();
        assert_eq!((last.pages().collect::<Vec<_>>(), last.size), (vec![u32::MAX], 1000));
        assert_eq!(listed(47, 3.0, 20.0), (40..47).collect::<Vec<_>>());
    }

    #[test]
    fn a_fraction_shifts_the_page_as_in_the_nestjs_system() {
        assert_eq!(listed(47, 1.5, 10.0), (5..15).collect::<Vec<_>>());
        assert_eq!(listed(47, 1.5, 1.0), [0]);
        assert_eq!(listed(7, 1.0, 1.5), [0]);
        assert_eq!(listed(47, 2.25, 10.0), (12..22).collect::<Vec<_>>());
        assert!(listed(47, 1.0, 0.5).is_empty());
        assert_eq!(Paging::of(Some(1.0), Some(1.5)).last_page(7), 5);
        assert_eq!(Paging::of(None, None).last_page(47), 5);
    }

    #[test]
    fn impossible_pages_are_refused() {
        for (page, limit) in
            [(0.0, 10.0), (0.5, 10.0), (-1.0, 10.0), (1e18, 10.0), (1.0, 0.0), (1.0, -5.0), (1.0, 1000.5)]
        {
            let refused = Paging { page, limit }.window().unwrap_err();
            assert!(refused.starts_with(r#"{"status":400,"message":"Invalid data: "#), "{refused}");
        }
        assert!(Paging { page: f64::NAN, limit: 10.0 }.window().is_err());
    }

    #[test]
    fn whole_numbers_are_written_without_a_fraction() {
        let text = |number| serde_json::to_string(&Number(number)).unwrap();
        assert_eq!((text(1.0), text(1.5), text(1000.0)), ("1".into(), "1.5".into(), "1000".into()));
    }
}
