//! The form of `POST /v1/checkout/sessions`: Stripe's nested keys, `line_items[0][price_data][currency]=usd`.
//!
//! It accepts the parameters with which a store requests a payment page, and refuses every other parameter by name, so
//! that nobody believes that the sandbox supports it. The limits are Stripe's.

use crate::money;
use crate::refusal::Refusal;
use crate::session::{Line, Request};
use http::Uri;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// The most lines, according to Stripe's API reference.
const MAX_LINES: usize = 100;
/// The most bytes of a name or a URL.
const MAX_TEXT_BYTES: usize = 2048;
/// The most entries of metadata, and the most bytes of a key and of a value.
const MAX_METADATA: (usize, usize, usize) = (50, 40, 500);

/// A checkout session to create.
#[derive(Debug, PartialEq)]
pub(crate) struct NewSession {
    pub currency: String,
    pub amount: i64,
    pub request: Request,
    /// SHA-256 of the parameters, sorted by name, in hex.
    pub digest: String,
}

/// A refund to make.
#[derive(Debug, PartialEq)]
pub(crate) struct NewRefund {
    pub charge: String,
    /// The amount; `None` for everything that is left.
    pub amount: Option<i64>,
    pub metadata: BTreeMap<String, String>,
    /// SHA-256 of the parameters, sorted by name, in hex.
    pub digest: String,
}

/// Reads the form of `POST /v1/refunds`.
///
/// # Errors
/// As [`parse`].
pub(crate) fn refund(body: &[u8]) -> Result<NewRefund, Refusal> {
    let pairs: BTreeMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let (mut charge, mut amount, mut metadata) = (None, None, BTreeMap::new());
    for (name, value) in &pairs {
        match segments(name).as_slice() {
            ["charge"] => charge = Some(value.clone()),
            ["amount"] => amount = Some(integer(name, value, 1)?),
            ["metadata", key] => entry(&mut metadata, name, key, value)?,
            _ => return Err(unknown(name)),
        }
    }
    let charge = charge.filter(|charge| !charge.is_empty()).ok_or_else(|| missing("charge"))?;
    Ok(NewRefund { charge, amount, metadata, digest: digest(&pairs) })
}

/// A line that is being read.
#[derive(Default)]
struct Draft {
    currency: Option<String>,
    unit_amount: Option<i64>,
    name: Option<String>,
    quantity: Option<i64>,
}

/// Reads a form.
///
/// # Errors
/// Stripe's refusal of the first parameter that is wrong.
pub(crate) fn parse(body: &[u8]) -> Result<NewSession, Refusal> {
    let pairs: BTreeMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let mut drafts: BTreeMap<usize, Draft> = BTreeMap::new();
    let (mut mode, mut success_url, mut cancel_url) = (None, None, None);
    let (mut metadata, mut payment_metadata) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in &pairs {
        if value.len() > MAX_TEXT_BYTES {
            return Err(wrong("", name, format!("Invalid string: must be at most {MAX_TEXT_BYTES} characters")));
        }
        match segments(name).as_slice() {
            ["mode"] => mode = Some(value.as_str()),
            // The sandbox has no payments in another currency.
            ["adaptive_pricing", "enabled"] if matches!(value.as_str(), "true" | "false") => {}
            ["success_url"] => success_url = Some(url(name, value)?),
            ["cancel_url"] => cancel_url = Some(url(name, value)?),
            ["metadata", key] => entry(&mut metadata, name, key, value)?,
            ["payment_intent_data", "metadata", key] => entry(&mut payment_metadata, name, key, value)?,
            ["line_items", position, field @ ..] => {
                let draft = match position.parse::<usize>() {
                    Ok(position) if position < MAX_LINES => drafts.entry(position).or_default(),
                    Ok(_) => {
                        return Err(wrong("", "line_items", format!("At most {MAX_LINES} line items are allowed")));
                    }
                    Err(_) => return Err(unknown(name)),
                };
                match field {
                    ["quantity"] => draft.quantity = Some(integer(name, value, 1)?),
                    ["price_data", "currency"] => draft.currency = Some(currency(name, value)?),
                    ["price_data", "unit_amount"] => draft.unit_amount = Some(integer(name, value, 0)?),
                    ["price_data", "product_data", "name"] if value.is_empty() => return Err(empty(name)),
                    ["price_data", "product_data", "name"] => draft.name = Some(value.clone()),
                    _ => return Err(unknown(name)),
                }
            }
            _ => return Err(unknown(name)),
        }
    }
    match mode {
        Some("payment") => {}
        Some(_) => return Err(wrong("", "mode", "The sandbox supports only the mode `payment`")),
        None => return Err(missing("mode")),
    }
    let success_url = success_url.ok_or_else(|| missing("success_url"))?;
    let (currency, lines) = lines(drafts)?;
    let amount = total(&lines, &currency)?;
    let request = Request { lines, success_url, cancel_url, metadata, payment_metadata };
    Ok(NewSession { currency, amount, request, digest: digest(&pairs) })
}

/// Splits `a[b][c]` into `a`, `b`, `c`. A name of another form is one segment, which no pattern matches.
fn segments(name: &str) -> Vec<&str> {
    let Some((first, rest)) = name.split_once('[') else { return vec![name] };
    match rest.strip_suffix(']') {
        Some(rest) => std::iter::once(first).chain(rest.split("][")).collect(),
        None => vec![name],
    }
}

fn lines(drafts: BTreeMap<usize, Draft>) -> Result<(String, Vec<Line>), Refusal> {
    let mut all: Option<String> = None;
    let mut lines = Vec::new();
    for (position, draft) in drafts {
        let absent = |field: &str| missing(&format!("line_items[{position}]{field}"));
        let currency = draft.currency.ok_or_else(|| absent("[price_data][currency]"))?;
        if all.get_or_insert_with(|| currency.clone()) != &currency {
            let message = "You cannot combine currencies on a single Checkout Session.";
            return Err(wrong("", &format!("line_items[{position}][price_data][currency]"), message));
        }
        lines.push(Line {
            name: draft.name.ok_or_else(|| absent("[price_data][product_data][name]"))?,
            unit_amount: draft.unit_amount.ok_or_else(|| absent("[price_data][unit_amount]"))?,
            quantity: draft.quantity.ok_or_else(|| absent("[quantity]"))?,
        });
    }
    Ok((all.ok_or_else(|| missing("line_items"))?, lines))
}

fn total(lines: &[Line], currency: &str) -> Result<i64, Refusal> {
    let total = lines.iter().fold(0_i64, |total, line| total.saturating_add(line.amount()));
    let (minimum, maximum) = (money::minimum(currency), money::maximum(currency));
    match total {
        _ if total < minimum => {
            let least = money::show(minimum, currency);
            let message = format!("The Checkout Session's total amount must be at least {least}");
            Err(wrong("amount_too_small", "line_items", message))
        }
        _ if total <= maximum => Ok(total),
        _ => {
            let most = money::show(maximum, currency);
            let message = format!("The Checkout Session's total amount must be no more than {most}");
            Err(wrong("amount_too_large", "line_items", message))
        }
    }
}

fn entry(map: &mut BTreeMap<String, String>, name: &str, key: &str, value: &str) -> Result<(), Refusal> {
    let (entries, keys, values) = MAX_METADATA;
    if map.len() >= entries || key.len() > keys || value.len() > values {
        let message = format!("Metadata has at most {entries} keys of {keys} characters, with values of {values}");
        return Err(wrong("", name, message));
    }
    map.insert(key.to_owned(), value.to_owned());
    Ok(())
}

fn integer(name: &str, value: &str, min: i64) -> Result<i64, Refusal> {
    // `parse` would accept a sign.
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse::<i64>() {
        Ok(number) if digits && number >= min => Ok(number),
        Ok(_) => {
            Err(wrong("parameter_invalid_integer", name, format!("This value must be greater than or equal to {min}.")))
        }
        Err(_) => Err(wrong("parameter_invalid_integer", name, format!("Invalid integer: {value}"))),
    }
}

fn currency(name: &str, value: &str) -> Result<String, Refusal> {
    let known = value.len() == 3 && value.bytes().all(|byte| byte.is_ascii_alphabetic());
    if known { Ok(value.to_ascii_lowercase()) } else { Err(wrong("", name, format!("Invalid currency: {value}"))) }
}

/// A URL for browsers. Braces enclose placeholders that are filled in later.
fn url(name: &str, value: &str) -> Result<String, Refusal> {
    let uri = value.replace(['{', '}'], "_").parse::<Uri>();
    let web = uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    let plain = value.bytes().all(|byte| byte.is_ascii_graphic());
    if web && plain { Ok(value.to_owned()) } else { Err(wrong("url_invalid", name, "Not a valid URL")) }
}

/// The digest of all names and values, with their lengths, so that no two forms have the same input.
fn digest(pairs: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    hex::encode(hash.finalize())
}

fn wrong(code: &'static str, param: &str, message: impl Into<String>) -> Refusal {
    Refusal::invalid(code, Some(param), message)
}

fn missing(param: &str) -> Refusal {
    wrong("parameter_missing", param, format!("Missing required param: {param}."))
}

fn empty(param: &str) -> Refusal {
    wrong("parameter_invalid_empty", param, format!("You passed an empty string for '{param}'."))
}

fn unknown(param: &str) -> Refusal {
    let shown: String = param.chars().take(100).collect();
    wrong("parameter_unknown", &shown, format!("Received unknown parameter: {shown}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const FORM: &[(&str, &str)] = &[
        ("mode", "payment"),
        ("line_items[0][price_data][currency]", "usd"),
        ("line_items[0][price_data][unit_amount]", "7525"),
        ("line_items[0][price_data][product_data][name]", "Teclado"),
        ("line_items[0][quantity]", "2"),
        ("line_items[1][price_data][currency]", "USD"),
        ("line_items[1][price_data][unit_amount]", "0"),
        ("line_items[1][price_data][product_data][name]", "<b>Gift</b> & more"),
        ("line_items[1][quantity]", "1"),
        ("payment_intent_data[metadata][orderId]", "order-1"),
        ("metadata[orderId]", "order-1"),
        ("success_url", "http://localhost:3000/payments/success?s={CHECKOUT_SESSION_ID}"),
        ("cancel_url", "http://localhost:3000/payments/cancel"),
    ];

    pub(crate) fn encode(pairs: &[(&str, &str)]) -> Vec<u8> {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into_bytes()
    }

    /// The form with one parameter changed or omitted.
    fn with(name: &str, value: Option<&str>) -> Result<NewSession, Refusal> {
        let mut pairs: Vec<_> = FORM.iter().copied().filter(|(known, _)| *known != name).collect();
        pairs.extend(value.map(|value| (name, value)));
        parse(&encode(&pairs))
    }

    #[test]
    fn a_form_becomes_the_session_that_it_describes() {
        let new_session = parse(&encode(FORM)).unwrap();
        assert_eq!((new_session.currency.as_str(), new_session.amount), ("usd", 15050));
        let lines: Vec<_> = new_session
            .request
            .lines
            .iter()
            .map(|line| (line.name.as_str(), line.unit_amount, line.quantity))
            .collect();
        assert_eq!(lines, [("Teclado", 7525, 2), ("<b>Gift</b> & more", 0, 1)]);
        assert_eq!(new_session.request.metadata.get("orderId").unwrap(), "order-1");
        assert_eq!(new_session.request.payment_metadata.get("orderId").unwrap(), "order-1");
    }

    #[test]
    fn a_total_may_be_as_little_as_the_least_of_its_currency_and_no_less() {
        let session = |currency: &str, cents: &str| {
            let pairs = FORM.iter().filter(|(name, _)| !name.starts_with("line_items[1]")).map(|(name, value)| {
                let value = match *name {
                    "line_items[0][price_data][currency]" => currency,
                    "line_items[0][price_data][unit_amount]" => cents,
                    "line_items[0][quantity]" => "1",
                    _ => value,
                };
                (*name, value)
            });
            parse(&encode(&pairs.collect::<Vec<_>>()))
        };
        for (currency, least, less) in
            [("usd", "50", "49"), ("GBP", "30", "29"), ("huf", "17500", "17499"), ("zmw", "1", "0")]
        {
            assert_eq!(session(currency, least).unwrap().amount.to_string(), least, "{currency}");
            let refusal = session(currency, less).unwrap_err();
            assert_eq!((refusal.status, refusal.code), (400, "amount_too_small"), "{currency}");
        }
    }

    #[test]
    fn the_digest_depends_on_the_values_and_not_on_the_sequence_of_parameters() {
        let mut turned = FORM.to_vec();
        turned.reverse();
        let digest = parse(&encode(FORM)).unwrap().digest;
        assert_eq!(parse(&encode(&turned)).unwrap().digest, digest);
        assert_ne!(with("metadata[orderId]", Some("order-2")).unwrap().digest, digest);
        assert_ne!(with("metadata[orderId]", None).unwrap().digest, digest);
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let (unit, quantity) = ("line_items[0][price_data][unit_amount]", "line_items[0][quantity]");
        let (currency, name) = ("line_items[0][price_data][currency]", "line_items[0][price_data][product_data][name]");
        let long = "x".repeat(2049);
        for (param, value, code) in [
            ("mode", None, "parameter_missing"),
            ("mode", Some("subscription"), ""),
            ("success_url", None, "parameter_missing"),
            ("success_url", Some("/relative"), "url_invalid"),
            ("success_url", Some("javascript:alert(1)"), "url_invalid"),
            ("success_url", Some("http://a/\r\nset-cookie: a"), "url_invalid"),
            ("cancel_url", Some("http://"), "url_invalid"),
            (unit, None, "parameter_missing"),
            (unit, Some("-1"), "parameter_invalid_integer"),
            (unit, Some("+1"), "parameter_invalid_integer"),
            (unit, Some("1.5"), "parameter_invalid_integer"),
            (unit, Some("99999999999999999999"), "parameter_invalid_integer"),
            (quantity, None, "parameter_missing"),
            (quantity, Some("0"), "parameter_invalid_integer"),
            (currency, None, "parameter_missing"),
            (currency, Some("dollars"), ""),
            (name, None, "parameter_missing"),
            (name, Some(""), "parameter_invalid_empty"),
            (name, Some(&long), ""),
            ("customer_email", Some("a@b"), "parameter_unknown"),
            ("line_items[x][quantity]", Some("1"), "parameter_unknown"),
            ("line_items[0][price]", Some("p"), "parameter_unknown"),
            ("line_items[0", Some("p"), "parameter_unknown"),
        ] {
            let refusal = with(param, value).unwrap_err();
            assert_eq!((refusal.status, refusal.code), (400, code), "{param} = {value:?}");
            assert_eq!(refusal.param.as_deref(), Some(param), "{param} = {value:?}");
        }
    }

    #[test]
    fn totals_and_lines_are_bounded() {
        let unit = "line_items[0][price_data][unit_amount]";
        assert_eq!(with(unit, Some("0")).unwrap_err().code, "amount_too_small");
        assert_eq!(with(unit, Some("49999999")).unwrap().amount, 99_999_998);
        assert_eq!(with(unit, Some("50000000")).unwrap_err().code, "amount_too_large");
        assert_eq!(with(unit, Some("9223372036854775807")).unwrap_err().code, "amount_too_large");
        assert_eq!(with("line_items[100][quantity]", Some("1")).unwrap_err().param.unwrap(), "line_items");
        assert_eq!(with("line_items[1][price_data][currency]", Some("eur")).unwrap_err().code, "");
        assert_eq!(parse(b"mode=payment&success_url=http://a/").unwrap_err().param.unwrap(), "line_items");
        assert_eq!(parse(b"").unwrap_err().param.unwrap(), "mode");
    }

    #[test]
    fn metadata_is_bounded() {
        assert!(with(&format!("metadata[{}]", "k".repeat(41)), Some("v")).is_err());
        assert!(with("metadata[k]", Some(&"v".repeat(501))).is_err());
        let many: Vec<(String, &str)> = (0..51).map(|i| (format!("metadata[k{i}]"), "v")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert!(parse(&encode(&[FORM, &many].concat())).is_err());
    }
}
