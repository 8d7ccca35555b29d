//! The currency of all prices: the variable `currency`.
//!
//! Prices are stored in hundredths. For a currency without hundredths (the yen) or with thousandths (the Kuwaiti
//! dinar), the payment provider would read the same number as a hundred times as much, or as a tenth. So only
//! currencies that are known to have hundredths are accepted, and no order is stored in another one.

use crate::bindings::orders::Error;
use std::cell::OnceCell;

/// The variable.
const VARIABLE: &str = "currency";

/// The currencies that Stripe accepts in hundredths: <https://docs.stripe.com/currencies>. The Icelandic krona and the
/// Ugandan shilling are missing: at Stripe they have two decimals only formally, and a price with cents is refused.
const WITH_HUNDREDTHS: &str = "
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop crc cve
    czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr jmd kes kgs khr kyd kzt lak
    lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln qar
    ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah usd uyu uzs wst xcd yer zar
    zmw";

/// The currency of all prices, read once per instance.
///
/// # Errors
/// `internal` when the variable is not set, or the currency has no hundredths.
pub(crate) fn of_prices() -> Result<String, Error> {
    thread_local! {
        static READ: OnceCell<String> = const { OnceCell::new() };
    }
    if let Some(currency) = READ.with(|read| read.get().cloned()) {
        return Ok(currency);
    }
    let unusable = |detail: String| {
        eprintln!("variable `{VARIABLE}`: {detail}");
        Error::Internal("the currency of the prices is not set".into())
    };
    let currency = souk_variables::get(VARIABLE).map_err(|e| unusable(e.to_string()))?;
    if !has_hundredths(&currency) {
        return Err(unusable(format!(
            "{currency:?} is not the code, in lower case, of a currency with hundredths, such as `usd`"
        )));
    }
    READ.with(|read| read.set(currency.clone())).ok();
    Ok(currency)
}

/// The highest total of an order, in hundredths: the most that Stripe takes for a card payment
/// (<https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts>). Nobody could pay more.
pub(crate) fn max_total(currency: &str) -> u64 {
    match currency {
        "idr" => 999_999_999_999,
        "inr" => 999_999_999,
        "cop" | "huf" => 9_999_999_999_999,
        "lbp" => 99_999_999_999_999,
        _ => 99_999_999,
    }
}

fn has_hundredths(currency: &str) -> bool {
    WITH_HUNDREDTHS.split_ascii_whitespace().any(|known| known == currency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_currencies_with_hundredths_are_accepted() {
        for good in ["usd", "eur", "brl", "gbp", "aed", "zmw"] {
            assert!(has_hundredths(good), "{good}");
        }
        for bad in ["jpy", "krw", "kwd", "isk", "ugx", "xyz", "USD", "us", "", " ", "usd eur", "usd\n"] {
            assert!(!has_hundredths(bad), "{bad:?}");
        }
        assert!(WITH_HUNDREDTHS.split_ascii_whitespace().all(|code| code.len() == 3));
    }

    #[test]
    fn an_order_may_cost_what_the_provider_takes_and_the_database_can_store() {
        assert_eq!(max_total("usd"), 99_999_999);
        for currency in WITH_HUNDREDTHS.split_ascii_whitespace() {
            assert!((99_999_999..=999_999_999_999_999).contains(&max_total(currency)), "{currency}");
        }
        // An order of a few euros is one of tens of thousands.
        for (currency, few_hundred_euros) in [("idr", 1_000_000_000), ("cop", 200_000_000), ("lbp", 4_000_000_000)] {
            assert!(max_total(currency) > few_hundred_euros, "{currency}");
        }
    }

    #[test]
    fn the_manifests_accept_the_same_currencies() {
        for manifest in [
            include_str!("../../../spin.toml"),
            include_str!("../../../nest/orders.toml"),
            include_str!("../../../nest/services.toml"),
        ] {
            let listed = manifest.split_once("[application.tool.souk.variables.currency]\none_of = [").unwrap().1;
            let listed = listed.split_once(']').unwrap().0;
            let codes: Vec<_> = listed.split('"').skip(1).step_by(2).collect();
            assert_eq!(codes, WITH_HUNDREDTHS.split_ascii_whitespace().collect::<Vec<_>>());
        }
    }
}
