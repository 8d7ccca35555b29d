//! Tokens as this component makes them, as the NestJS system made them, and as attackers forge them.

use super::known::MAX_TOKENS;
use super::*;
use crate::account::MAX_EMAIL_BYTES;
use crate::now;
use crate::rules::MAX_NAME_BYTES;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Sha384, Sha512};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

fn signer() -> Signer {
    Signer::new(SECRET)
}

fn account(email: &str, name: &str) -> Account {
    Account::new(name.into(), email.into(), "$argon2id$".into(), now()).unwrap()
}

/// A token with any claims, algorithm and secret, made without the library.
fn encode(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
    sign(&json!({ "typ": "JWT", "alg": algorithm }), claims, algorithm, secret)
}

fn sign(header: &Value, claims: &Value, algorithm: Algorithm, secret: &str) -> String {
    let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let signature = match algorithm {
        Algorithm::HS256 => hmac::<Hmac<Sha256>>(secret, &text),
        Algorithm::HS384 => hmac::<Hmac<Sha384>>(secret, &text),
        Algorithm::HS512 => hmac::<Hmac<Sha512>>(secret, &text),
        other => panic!("{other:?}"),
    };
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn hmac<M: Mac + KeyInit>(secret: &str, text: &str) -> Vec<u8> {
    <M as KeyInit>::new_from_slice(secret.as_bytes()).unwrap().chain_update(text).finalize().into_bytes().to_vec()
}

fn signed(claims: &Value) -> String {
    encode(claims, Algorithm::HS256, SECRET)
}

fn read(token: &str) -> Option<Proof> {
    signer().read(token, now()).ok()
}

/// The claims of a token, unverified.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Good claims, with some of them replaced; `null` takes one away.
fn changed(changes: Value) -> Value {
    let now = now();
    let mut claims =
        json!({"id": "6b03", "email": "a@b.io", "name": "A", "iat": now, "exp": now + HOUR, "auth_time": now});
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

#[test]
fn a_token_says_who_logged_in_and_when_and_not_the_role() {
    let (now, ann) = (now(), account("Ann@example.com", "Ann"));
    let token = signer().issue(&ann, now, now).unwrap();
    assert_eq!(
        claims(&token),
        json!({"id": ann.id, "email": "Ann@example.com", "name": "Ann", "iat": now, "exp": now + 2 * HOUR, "auth_time": now})
    );
    assert_eq!(
        read(&token),
        Some(Proof { id: ann.id, email: "Ann@example.com".into(), auth_time: now, generation: 0 })
    );
}

#[test]
fn a_renewed_token_never_lives_past_30_days_after_the_login() {
    let (now, ann) = (now(), account("a@b.io", ""));
    let login = now - 30 * DAY + HOUR;
    let token = signer().issue(&ann, login, now).unwrap();
    assert_eq!(
        claims(&token),
        json!({"id": ann.id, "email": "a@b.io", "name": "", "iat": now, "exp": now + HOUR, "auth_time": login})
    );
    assert_eq!(read(&token).unwrap().auth_time, login);
    assert_eq!(signer().read(&token, now + HOUR - 1).unwrap().auth_time, login);
    assert_eq!(signer().read(&token, now + HOUR), Err(Refusal::Invalid));
    assert_eq!(read(&signed(&changed(json!({"auth_time": now - 30 * DAY})))), None);
}

#[test]
fn a_token_of_the_nestjs_system_counts_from_its_issue() {
    let now = now();
    let old = changed(json!({"auth_time": null, "iat": now - HOUR}));
    assert_eq!(read(&signed(&old)).unwrap().auth_time, now - HOUR);
    assert_eq!(read(&signed(&changed(json!({"auth_time": null, "iat": now - 31 * DAY})))), None);
    assert_eq!(read(&signed(&changed(json!({"auth_time": null, "iat": null})))), None);
    assert!(
        read(&signed(&changed(json!({"role": "admin", "sub": "s", "aud": "a", "iss": "i", "jti": "j"})))).is_some()
    );
}

#[test]
fn time_claims_that_do_not_fit_the_clock_are_refused() {
    let now = now();
    for bad in [
        json!({"exp": now - 60}),
        json!({"exp": null}),
        json!({"exp": "x"}),
        json!({"exp": (now + HOUR).to_string()}),
        json!({"exp": -1}),
        json!({"nbf": now + 120}),
        json!({"nbf": "x"}),
        json!({"iat": now + 120}),
        json!({"iat": "x"}),
        json!({"auth_time": now + 120}),
        json!({"auth_time": u64::MAX}),
        json!({"auth_time": "x"}),
        json!({"auth_time": 0}),
    ] {
        assert_eq!(read(&signed(&changed(bad.clone()))), None, "{bad}");
    }
    assert!(read(&signed(&changed(json!({"nbf": now - 60})))).is_some());
    assert!(read(&signed(&changed(json!({"exp": u64::MAX})))).is_some());
}

#[test]
fn a_clock_skew_of_a_minute_is_accepted_and_a_larger_one_is_reported() {
    let now = now();
    for claim in ["iat", "nbf", "auth_time"] {
        let token = |ahead: u64| signed(&changed(json!({ claim: now + ahead })));
        assert!(signer().read(&token(0), now).is_ok(), "{claim}");
        assert!(signer().read(&token(60), now).is_ok(), "{claim}");
        let refusal = Refusal::NotYetValid { id: "6b03".into(), seconds: 61 };
        assert_eq!(signer().read(&token(61), now), Err(refusal), "{claim}");
    }
    let fraction = signed(&changed(json!({ "nbf": now as f64 + 60.5 })));
    assert_eq!(signer().read(&fraction, now), Err(Refusal::NotYetValid { id: "6b03".into(), seconds: 61 }));
    // Only a token with a valid signature reaches the log.
    let forged = encode(&changed(json!({ "iat": now + DAY })), Algorithm::HS256, "another");
    assert_eq!(signer().read(&forged, now), Err(Refusal::Invalid));
}

#[test]
fn a_header_that_names_extensions_is_refused() {
    for crit in [json!(["exp"]), json!(["b64"]), json!(["urn:example:unknown"]), json!([]), json!("b64")] {
        let header = json!({ "alg": "HS256", "typ": "JWT", "crit": crit, "b64": true, "urn:example:unknown": 1 });
        assert_eq!(read(&sign(&header, &changed(json!({})), Algorithm::HS256, SECRET)), None, "{header}");
    }
}

#[test]
fn only_hs256_with_this_secret_counts() {
    let good = changed(json!({}));
    assert!(read(&signed(&good)).is_some());
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        assert_eq!(read(&encode(&good, algorithm, SECRET)), None);
    }
    for secret in ["", "0123456789abcdef0123456789abcdeF", "secret"] {
        assert_eq!(read(&encode(&good, Algorithm::HS256, secret)), None);
    }
}

#[test]
fn a_token_is_refused_when_any_part_of_it_was_touched() {
    let token = signed(&changed(json!({})));
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let other = URL_SAFE_NO_PAD.encode(changed(json!({"id": "6b04"})).to_string());
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let hs512 = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS512","typ":"JWT"}"#);
    let rs256 = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    for bad in [
        format!("{header}.{other}.{signature}"),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{hs512}.{payload}.{signature}"),
        format!("{rs256}.{payload}.{signature}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{}", &signature[..signature.len() - 2]),
        format!("{token}."),
        format!(".{token}"),
        format!(" {token}"),
        format!("{token}="),
    ] {
        assert_eq!(read(&bad), None, "{bad}");
    }
}

#[test]
fn garbage_proves_nothing() {
    for garbage in ["", ".", "..", "...", "abc", "a.b.c", "e30.e30.e30", "\0", "é.é.é"] {
        assert_eq!(read(garbage), None, "{garbage}");
    }
    for claims in [json!([1, 2]), json!({}), json!("x"), json!(null), changed(json!({"id": 5}))] {
        assert_eq!(read(&signed(&claims)), None, "{claims}");
    }
}

#[test]
fn a_token_that_is_too_long_is_not_even_decoded() {
    assert_eq!(read(&signed(&changed(json!({"name": "n".repeat(MAX_TOKEN_BYTES)})))), None);
    assert_eq!(read(&"a".repeat(100_000)), None);
}

#[test]
fn the_longest_account_has_a_token_that_can_be_read() {
    // A quotation mark takes two bytes in JSON.
    let longest = account(&"\"".repeat(MAX_EMAIL_BYTES), &"\"".repeat(MAX_NAME_BYTES));
    let token = signer().issue(&longest, now(), now()).unwrap();
    assert!(token.len() <= MAX_TOKEN_BYTES, "{}", token.len());
    assert!(read(&token).is_some());
}

#[test]
fn a_token_carries_its_generation() {
    let (now, mut ann) = (now(), account("ann@example.com", "Ann"));
    ann.generation = 3;
    let token = signer().issue(&ann, now, now).unwrap();
    assert_eq!(claims(&token)["generation"], 3);
    assert_eq!(read(&token).unwrap().generation, 3);
    // A token without the claim belongs to generation 0.
    assert_eq!(read(&signed(&changed(json!({})))).unwrap().generation, 0);
}

#[test]
fn a_digest_depends_on_secret_purpose_and_text() {
    let one = signer().digest("source", "192.0.2.7");
    assert_eq!(one, signer().digest("source", "192.0.2.7"));
    let others = [
        Signer::new("another secret").digest("source", "192.0.2.7"),
        signer().digest("account", "192.0.2.7"),
        signer().digest("source", "192.0.2.8"),
    ];
    assert!(!others.contains(&one));
}

#[test]
fn a_token_that_was_read_before_ends_when_it_would_have_ended() {
    let now = now();
    for exp in [json!(now + 10), json!(now as f64 + 9.6), json!(now as f64 + 10.4)] {
        let (signer, token) = (signer(), signed(&changed(json!({ "exp": exp }))));
        for later in [0, 10, 10 + LEEWAY_SECONDS] {
            assert!(signer.read(&token, now + later).is_ok(), "{exp} {later}");
        }
        assert_eq!(signer.read(&token, now + 11 + LEEWAY_SECONDS), Err(Refusal::Invalid), "{exp}");
    }
    let (signer, token) = (signer(), signed(&changed(json!({ "exp": now + 90 * DAY }))));
    assert!(signer.read(&token, now).is_ok());
    assert_eq!(signer.read(&token, now + 30 * DAY), Err(Refusal::Invalid), "the login is too old");
    let refusal = Refusal::NotYetValid { id: "6b03".into(), seconds: 61 };
    assert_eq!(signer.read(&token, now - 61), Err(refusal), "the clock went back");
}

#[test]
fn a_token_that_was_read_before_does_not_help_another() {
    let (signer, now) = (signer(), now());
    let token = signed(&changed(json!({})));
    assert!(signer.read(&token, now).is_ok());
    let other = encode(&changed(json!({})), Algorithm::HS256, "another");
    let [text, signature] = [&token, &other].map(|token| token.rsplit_once('.').unwrap());
    for bad in [format!("{}.{}", text.0, signature.1), format!("{token}A"), format!(" {token}"), token[1..].to_owned()]
    {
        assert_eq!(signer.read(&bad, now), Err(Refusal::Invalid), "{bad}");
    }
}

#[test]
fn few_tokens_are_kept_and_only_good_ones() {
    let (signer, now) = (signer(), now());
    for number in 0..1000 {
        let claims = changed(json!({ "id": number.to_string() }));
        let before = signer.known.len();
        assert!(signer.read(&encode(&claims, Algorithm::HS256, "another"), now).is_err());
        assert_eq!(signer.known.len(), before, "{number}");
        assert_eq!(signer.read(&signed(&claims), now).unwrap().id, number.to_string());
        assert!(signer.known.len() <= MAX_TOKENS);
    }
}
