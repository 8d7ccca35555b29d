//! Amounts for people: `USD 1,234.50`. Amounts are hundredths throughout.

/// An amount with its currency.
pub(crate) fn show(amount: i64, currency: &str) -> String {
    // A space that does not break: the amount stays on one line.
    format!("{}\u{a0}{}", currency.to_uppercase(), plain(amount))
}

/// The least that a payment in this currency may be, as
/// [Stripe has it](https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts). In other currencies Stripe
/// converts its least one at the day's rate, which the sandbox does not know: there it is one hundredth.
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
}
