//! An accepted conversion works for every value, and allowed extensions of a type are accepted.

use crate::FunctionCodec;
use crate::signature::{digest, digest_of, signature, sync_signature};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use wasmtime::component::Val;
use wit_types::{STRING, Ty, U64, any_type, any_value, async_func, func, list, option, record, result, variant};

/// The codec of a function, of a caller or a callee, that takes `param` and returns `returned`.
fn function(param: &Ty, returned: &Ty) -> FunctionCodec {
    FunctionCodec::of(&func(&[("value", param.clone())], Some(returned))).unwrap()
}

fn can_take(old: &Ty, new: &Ty) -> bool {
    function(old, &U64).can_call(&function(new, &U64))
}

fn can_read(old: &Ty, new: &Ty) -> bool {
    function(&U64, old).can_call(&function(&U64, new))
}

#[test]
fn allowed_and_refused_changes_are_those_of_the_table() {
    let small = record([("id", U64)]);
    let gained = record([("id", U64), ("note", option(STRING))]);
    let demands = record([("id", U64), ("note", STRING)]);
    let cases = variant([("open", None), ("paid", Some(small.clone()))]);
    let more_cases = variant([("paid", Some(gained.clone())), ("lost", None), ("open", None)]);
    let (names, more_names) = (Ty::Enum(vec!["a", "b"]), Ty::Enum(vec!["c", "b", "a"]));
    let (flags, more_flags) = (Ty::Flags(vec!["a"]), Ty::Flags(vec!["b", "a"]));
    // Whether a caller of the first may send its value to a callee of the second, and read the second's.
    for (caller, callee, takes, reads) in [
        (&small, &gained, true, true),
        // A newer caller: its values must not be lost, and a field that the callee does not send is none.
        (&gained, &small, false, true),
        (&small, &demands, false, false),
        (&demands, &small, false, false),
        (&cases, &more_cases, true, false),
        (&more_cases, &cases, false, true),
        (&names, &more_names, true, false),
        (&more_names, &names, false, true),
        (&flags, &more_flags, true, false),
        (&more_flags, &flags, false, true),
        (&STRING, &option(STRING), false, false),
        (&Ty::Prim("u32"), &U64, false, false),
        (&result(Some(U64), None), &result(None, None), false, false),
    ] {
        for deep in [
            |ty: &Ty| ty.clone(),
            |ty: &Ty| list(ty.clone()),
            |ty: &Ty| option(ty.clone()),
            |ty: &Ty| result(None, Some(ty.clone())),
            |ty: &Ty| Ty::Map(Box::new(STRING), Box::new(ty.clone())),
            |ty: &Ty| Ty::Fixed(Box::new(ty.clone()), 2),
            |ty: &Ty| Ty::Tuple(vec![U64, ty.clone()]),
            |ty: &Ty| record([("in", ty.clone())]),
        ] {
            let (caller, callee) = (deep(caller), deep(callee));
            assert_eq!(can_take(&caller, &callee), takes, "parameter: {caller:?} to {callee:?}");
            assert_eq!(can_read(&caller, &callee), reads, "result: {callee:?} to {caller:?}");
        }
    }
    let one = FunctionCodec::of(&func(&[("a", U64)], None)).unwrap();
    let two = FunctionCodec::of(&func(&[("b", option(U64)), ("a", U64)], None)).unwrap();
    assert!(one.can_call(&two) && !two.can_call(&one));
    let none = Val::Option(None);
    assert_eq!(two.adopt_params(&one, vec![Val::U64(7)]), Some(vec![none, Val::U64(7)]));
}

/// `ty` with a change at one place, as a developer changes a contract.
fn changed(ty: &Ty, other: &Ty, choice: &mut u64) -> Ty {
    let mut pick = |n: u64| {
        let picked = *choice % n;
        *choice /= n;
        picked
    };
    match ty {
        Ty::Record(fields) if pick(2) == 0 => {
            let mut fields = fields.clone();
            match pick(4) {
                0 => fields.push(("added", option(other.clone()))),
                1 => fields.insert(0, ("added", other.clone())),
                2 if fields.len() > 1 => drop(fields.pop()),
                _ => fields.reverse(),
            }
            Ty::Record(fields)
        }
        Ty::Record(fields) => {
            let mut fields = fields.clone();
            let at = pick(fields.len() as u64) as usize;
            fields[at].1 = changed(&fields[at].1, other, choice);
            Ty::Record(fields)
        }
        Ty::Variant(cases) if pick(2) == 0 => {
            let mut cases = cases.clone();
            match pick(3) {
                0 => cases.insert(0, ("added", Some(other.clone()))),
                1 if cases.len() > 1 => drop(cases.pop()),
                _ => cases.reverse(),
            }
            Ty::Variant(cases)
        }
        Ty::Variant(cases) => {
            let mut cases = cases.clone();
            let at = pick(cases.len() as u64) as usize;
            cases[at].1 = cases[at].1.as_ref().map(|ty| changed(ty, other, choice));
            Ty::Variant(cases)
        }
        Ty::Enum(names) if pick(2) == 0 => Ty::Enum(names.iter().copied().chain(["added"]).collect()),
        Ty::Flags(names) if pick(2) == 0 => Ty::Flags(["added"].into_iter().chain(names.iter().copied()).collect()),
        Ty::List(item) => list(changed(item, other, choice)),
        Ty::Fixed(item, n) => Ty::Fixed(Box::new(changed(item, other, choice)), *n),
        Ty::Map(key, value) => Ty::Map(key.clone(), Box::new(changed(value, other, choice))),
        Ty::Option(item) => option(changed(item, other, choice)),
        Ty::Tuple(items) => {
            let mut items = items.clone();
            let at = pick(items.len() as u64) as usize;
            items[at] = changed(&items[at], other, choice);
            Ty::Tuple(items)
        }
        Ty::Result(ok, err) => {
            let change = |side: &Option<Box<Ty>>, choice: &mut u64| side.as_ref().map(|ty| changed(ty, other, choice));
            result(change(ok, choice), err.as_ref().map(|err| *err.clone()))
        }
        _ => match pick(4) {
            0 => other.clone(),
            _ => ty.clone(),
        },
    }
}

/// 10,000 changes of types, or as many as `PROPTEST_CASES` says: if a change is accepted, every value of one side keeps its
/// meaning on the other.
#[test]
fn a_change_is_accepted_only_where_every_old_value_still_means_the_same() {
    let cases = std::env::var("PROPTEST_CASES").map_or(10_000, |cases| cases.parse().expect("a number"));
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let types = (any_type(), any_type(), any::<u64>()).prop_map(|(old, other, mut choice)| {
        let new = changed(&old, &other, &mut choice);
        (old, new)
    });
    let values = types.prop_flat_map(|(old, new)| {
        let (of_old, of_new) = (any_value(&old), any_value(&new));
        (Just(old), Just(new), of_old, of_new)
    });
    let (accepted, refused) = (Cell::new(0_i64), Cell::new(0_i64));
    TestRunner::new(config)
        .run(&values, |(old, new, of_old, of_new)| {
            for (from, to, value) in [(&old, &new, &of_old), (&new, &old, &of_new)] {
                // A caller of `from` sends to a callee of `to`.
                let (sender, receiver) = (function(from, from), function(to, to));
                let json = sender.encode_params(std::slice::from_ref(value)).unwrap();
                if can_take(from, to) {
                    let adopted = receiver.adopt_params(&sender, vec![value.clone()]).unwrap();
                    // Nothing of it is lost by the conversion, in memory or as JSON.
                    prop_assert_eq!(&receiver.decode_params(&json).unwrap(), &adopted);
                    let back = sender.adopt_results(adopted).unwrap();
                    prop_assert_eq!(sender.encode_params(&back).unwrap(), json);
                }
                // A callee of `from` answers a caller of `to`.
                if can_read(to, from) {
                    let read = receiver.adopt_results(vec![value.clone()]).unwrap();
                    receiver.encode_results(&read).unwrap();
                    // Adopting a second time changes nothing.
                    prop_assert_eq!(&receiver.adopt_results(read.clone()).unwrap(), &read);
                }
            }
            match can_take(&old, &new) || can_read(&old, &new) {
                true if old != new => accepted.set(accepted.get() + 1),
                true => {}
                false => refused.set(refused.get() + 1),
            }
            Ok(())
        })
        .unwrap();
    let (accepted, refused) = (accepted.get(), refused.get());
    let least = i64::from(cases / 20);
    assert!(accepted > least && refused > least, "{accepted} accepted, {refused} refused");
}

proptest! {
    #[test]
    fn a_signature_is_read_as_the_type_that_it_was_written_of(param in any_type(), returned in any_type(), kind: bool) {
        let params = [("some-value", param)];
        let ty = if kind { func(&params, Some(&returned)) } else { async_func(&params, Some(&returned)) };
        let text = signature("f-1", &ty);
        prop_assert_eq!(digest_of(&text), digest("f-1", &ty));
        // Two names may be the same in JSON, which no codec accepts.
        match (FunctionCodec::of(&ty), FunctionCodec::read(&text)) {
            (Ok(known), Some(read)) => {
                prop_assert_eq!(format!("{known:?}"), format!("{read:?}"));
                prop_assert_eq!(FunctionCodec::read(&sync_signature("f-1", &ty)).is_some(), true);
            }
            (Err(_), None) => {}
            (known, read) => prop_assert!(false, "{text}: {known:?}, {read:?}"),
        }
    }

    #[test]
    fn any_other_text_is_read_or_refused(text in "[a-z0-9<>(){}:, _-]{0,60}", inner in ".*") {
        let _ = FunctionCodec::read(&text);
        let _ = FunctionCodec::read(&format!("f: func(a: {inner}) -> {text}"));
        let deep = format!("f: func() -> {}u8{}", "list<".repeat(5000), ">".repeat(5000));
        prop_assert!(FunctionCodec::read(&deep).is_none(), "it nests too deep");
    }
}
