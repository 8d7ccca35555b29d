//! `trusted_proxies` and `reserved_routes` of `[application.tool.souk]`.
//!
//! A proxy names the client of a request, and so decides whose share of the host the request takes. Only proxies that
//! the manifest names are trusted; by default there are none. Reserved routes are named here and not at their triggers,
//! because Spin refuses unknown keys there.

use super::Route;
use super::names::nearest;
use super::table::{At, File, Table};
use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;

/// Reads `trusted_proxies`: addresses and networks.
pub(super) fn read_trusted(table: &mut Table<'_, '_>) -> Vec<IpNet> {
    let mut trusted = Vec::new();
    for At { value, line } in table.strings("trusted_proxies") {
        let network = value.parse::<IpNet>().or_else(|_| value.parse::<IpAddr>().map(IpNet::from));
        match network.map(|network| unmapped(network.trunc())) {
            Ok(network) if network.prefix_len() == 0 => {
                let fix = "list only the proxies: a trusted address may claim to be any client";
                table.error(line, format!("`{value}` in `trusted_proxies` is every address"), fix);
            }
            Ok(network) => trusted.push(network),
            Err(_) => {
                let fix =
                    "write addresses and networks, without a port: `trusted_proxies = [\"10.0.0.7\", \"fd00::/8\"]`";
                table.error(line, format!("`{value}` in `trusted_proxies` is neither an address nor a network"), fix);
            }
        }
    }
    trusted
}

/// IPv4 addresses in the form of IPv6 (`::ffff:10.0.0.7`) as IPv4: the host compares addresses in that form.
fn unmapped(network: IpNet) -> IpNet {
    let as_ipv4 = |network: IpNet| {
        let IpNet::V6(v6) = network else { return None };
        Ipv4Net::new(v6.addr().to_ipv4_mapped()?, v6.prefix_len().checked_sub(96)?).ok()
    };
    as_ipv4(network).map_or(network, IpNet::V4)
}

/// The routes of `reserved_routes`, before the triggers are known.
#[derive(Default)]
pub(super) struct Reserved(Vec<At<String>>);

impl Reserved {
    /// Reads `reserved_routes`.
    pub(crate) fn read(table: &mut Table<'_, '_>) -> Self {
        Reserved(table.strings("reserved_routes"))
    }

    /// Marks the named routes; each must be written as in its trigger.
    pub(crate) fn mark(&self, routes: &mut [Route], file: File<'_>) {
        for At { value, line } in &self.0 {
            let mut found = false;
            for route in routes.iter_mut() {
                if route.pattern.as_ref().is_some_and(|pattern| pattern.as_str() == value) {
                    (route.reserved, found) = (true, true);
                }
            }
            if !found {
                let known = routes.iter().filter_map(|route| Some(route.pattern.as_ref()?.as_str()));
                let fix = match nearest(value, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write the `route` of a [[trigger.http]] exactly as it is there".to_owned(),
                };
                let message = format!("`{value}` in `reserved_routes` is the route of no trigger");
                file.report.error(file.diagnostic(Some(*line), None, message, fix));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tests::app;

    fn with_souk(text: &str) -> String {
        format!(
            "spin_manifest_version = 2\n[application]\nname = \"t\"\n[application.tool.souk]\n{text}\n\
             [[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n[component.a]\nsource = \"a.wasm\"\n"
        )
    }

    #[test]
    fn proxies_are_addresses_or_networks_and_routes_are_named_as_their_triggers_write_them() {
        let text = with_souk(
            "trusted_proxies = [\"10.1.2.3\", \"10.0.0.0/8\", \"fd00::1\", \"fd00::1/8\", \"::ffff:10.1.2.3\", \
             \"::ffff:10.1.2.3/104\"]",
        );
        let loaded = app(&text).load().application;
        let trusted: Vec<_> = loaded.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(trusted, ["10.1.2.3/32", "10.0.0.0/8", "fd00::1/128", "fd00::/8", "10.1.2.3/32", "10.0.0.0/8"]);
        let route = loaded.routes[0].pattern.clone().unwrap();
        assert!(!loaded.routes[0].reserved);
        let loaded = app(&with_souk(&format!("reserved_routes = [\"{route}\"]"))).load().application;
        assert!(loaded.routes[0].reserved);
    }

    #[test]
    fn a_wrong_proxy_route_or_document_is_an_error_with_its_line_and_fix() {
        for (text, message, fix) in [
            ("trusted_proxies = [\"proxy.test\"]", "neither an address nor a network", "without a port"),
            ("trusted_proxies = [\"10.0.0.1:80\"]", "neither an address nor a network", "without a port"),
            ("trusted_proxies = [\"0.0.0.0/0\"]", "is every address", "list only the proxies"),
            ("trusted_proxies = [\"::ffff:0.0.0.0/96\"]", "is every address", "list only the proxies"),
            ("trusted_proxies = \"10.0.0.1\"", "must be a list of strings", "[\"...\"]"),
            ("openapi = \"openapi.json\"", "`openapi` does not begin with `/`", "openapi = \"/api/openapi.json\""),
            ("reserved_routes = [\"/nowhere\"]", "the route of no trigger", "[[trigger.http]]"),
        ] {
            let errors = app(&with_souk(text)).errors().0;
            assert_eq!(errors.len(), 1, "{text}: {errors:?}");
            let error = &errors[0];
            assert_eq!(error.line, Some(5), "{text}: {error}");
            assert!(error.message.contains(message) && error.fix.contains(fix), "{text}: {error}");
        }
    }
}
