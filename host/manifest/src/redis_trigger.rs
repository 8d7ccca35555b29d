//! `[[trigger.redis]]`: a Redis channel whose messages a component gets.
//!
//! Channel and address may be templates, as in Spin. `[application.trigger.redis]` may set the address for all
//! triggers. A filled-in address may contain a password, so no message shows it.

use super::declared::{Declared, Value};
use super::draft::RedisDraft;
use super::key_value::RedisUrl;
use super::table::{At, File, Table};
use super::template::{Template, template};
use std::collections::BTreeMap;

/// A channel and the component that gets its messages.
#[derive(Debug, Clone)]
pub struct RedisTrigger {
    /// The trigger's id, as given, or generated as in Spin.
    pub id: String,
    /// The component.
    pub component: String,
    /// The server.
    pub address: RedisUrl,
    /// The channel.
    pub channel: String,
    /// The line of the trigger.
    pub line: usize,
}

/// Reads `address`, of a trigger or of the application.
pub(super) fn read_address(table: &mut Table<'_, '_>, declared: &BTreeMap<String, Declared>) -> Option<At<Template>> {
    let address = table.string("address")?;
    template(table, address.line, &address.value, declared).map(|value| At { value, line: address.line })
}

/// Reads `channel`.
pub(super) fn read_channel(table: &mut Table<'_, '_>, declared: &BTreeMap<String, Declared>) -> Option<At<Template>> {
    let channel = table.required_string("channel", "write `channel = \"NAME\"`")?;
    template(table, channel.line, &channel.value, declared).map(|value| At { value, line: channel.line })
}

/// Fills in the templates; a trigger without an address uses `default`. A trigger with a mistake is reported
/// and left out.
pub(super) fn fill_in(
    drafts: Vec<RedisDraft>,
    default: Option<&At<Template>>,
    values: &BTreeMap<String, Value>,
    file: File<'_>,
) -> Vec<RedisTrigger> {
    let mut triggers = Vec::new();
    for draft in drafts {
        let error = |line: usize, message: &str, fix: &str| {
            file.report.error(file.diagnostic(Some(line), Some(&draft.component), message, fix));
        };
        const ADDRESS_FIX: &str = "write `address = \"redis://HOST:6379\"`, here or under [application.trigger.redis]";
        let Some(address) = draft.address.as_ref().or(default) else {
            error(draft.line, "[[trigger.redis]] has no `address`", ADDRESS_FIX);
            continue;
        };
        // A variable without a value was reported before.
        let resolved = address.value.resolve(values).zip(draft.channel.value.resolve(values));
        let Some((url, channel)) = resolved else { continue };
        if channel.expose().is_empty() {
            error(draft.channel.line, "`channel` of [[trigger.redis]] is empty", "name a channel");
            continue;
        }
        match RedisUrl::parse(url.expose()) {
            Ok(address) => {
                let (id, component, channel) = (draft.id, draft.component, channel.expose().to_owned());
                triggers.push(RedisTrigger { id, component, address, channel, line: draft.line });
            }
            Err(wrong) => error(address.line, &format!("`address` of [[trigger.redis]] {wrong}"), ADDRESS_FIX),
        }
    }
    triggers
}
