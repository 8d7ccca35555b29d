//! Amounts for people: `USD 1,234.50`. Amounts are hundredths throughout.

/// An amount with its currency.
pub(crate) fn show(amount: i64, currency: &str) -> String {
    // A space that does not break: the amount stays on one line.
    format!("{}\u{a0}{}", currency.to_uppercase(), plain(amount))
}

/// The smallest payment in this currency, from
/// [Stripe's table](https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts). For other currencies Stripe
/// converts its minimum at the day's rate, which the sandbox does not know: there it is one hundredth.
pub(crate) fn minimum(currency: &str) -> i64 {
    match currency {
        "usd" | "aud" | "brl" | "cad" | "chf" | "eur" | "inr" | "nzd" | "sgd" => 50,
        "gbp" => 30,
        "bgn" => 100,
        "aed" | "myr" | "pln" | "ron" => 200,
        "dkk" => 250,
        "nok" | "sek" => 300,
        "hkd" => 400,
        "mxn" | "thb" => 1_000,
        "czk" => 1_500,
        "huf" => 17_500,
        _ => 1,
    }
}

/// The largest payment in this currency: eight digits in most currencies, and more by card in some.
pub(crate) fn maximum(currency: &str) -> i64 {
    match currency {
        "idr" => 999_999_999_999,
        "inr" => 999_999_999,
        "cop" | "huf" => 9_999_999_999_999,
        "lbp" => 99_999_999_999_999,
        _ => 99_999_999,
    }
}

/// An amount without its currency, which stands nearby.
pub(crate) fn plain(amount: i64) -> String {
    let (sign, cents) = (if amount < 0 { "-" } else { "" }, amount.unsigned_abs());
    let units = (cents / 100).to_string();
    let mut grouped = String::new();
    for (position, digit) in units.chars().enumerate() {
        if position > 0 && (units.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}.{:02}", cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_two_decimals_and_groups_of_three() {
        for (amount, shown) in [
            (0, "USD\u{a0}0.00"),
            (5, "USD\u{a0}0.05"),
            (30, "USD\u{a0}0.30"),
            (99_999, "USD\u{a0}999.99"),
            (100_000, "USD\u{a0}1,000.00"),
            (123_456_789, "USD\u{a0}1,234,567.89"),
            (-150, "USD\u{a0}-1.50"),
        ] {
            assert_eq!(show(amount, "usd"), shown);
        }
    }

    #[test]
    fn the_least_payment_is_that_of_stripes_table() {
        // docs.stripe.com/currencies, "Minimum and maximum charge amounts", but for the yen, which has no hundredths.
        let table = "USD 0.50, AED 2.00, AUD 0.50, BGN 1.00, BRL 0.50, CAD 0.50, CHF 0.50, CZK 15.00, DKK 2.50, EUR 0.50, \
                     GBP 0.30, HKD 4.00, HUF 175.00, INR 0.50, MXN 10.00, MYR 2.00, NOK 3.00, NZD 0.50, PLN 2.00, \
                     RON 2.00, SEK 3.00, SGD 0.50, THB 10.00";
        for row in table.split(", ") {
            let (currency, least) = row.split_once(' ').unwrap();
            assert_eq!(plain(minimum(&currency.to_lowercase())), least, "{currency}");
        }
        assert_eq!(minimum("zar"), 1);
    }
}
