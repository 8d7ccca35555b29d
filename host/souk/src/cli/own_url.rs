//! Warns of an application that sends its users to a loopback address.
//!
//! A variable with `generate = "url"` that is not set has the host's own URL, which is right on a developer's machine.
//! While a component that stands in for a real service is off (`unless`), users come from elsewhere, and the host's own
//! URL with a loopback address would lead them to their own machine. Only the operator knows the public URL.

use souk_manifest::{Application, OWN_URL, is_loopback};

/// The warnings, one for each variable; `own_url` is the URL at which this host serves.
pub(super) fn warnings(application: &Application, own_url: &str) -> Vec<String> {
    let authority = own_url.split_once("://").map_or(own_url, |(_, authority)| authority);
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let Some((component, set)) = application.off.iter().next().filter(|_| is_loopback(host)) else { return Vec::new() };
    let own = application.variable_places.iter().filter(|(_, place)| place.as_str() == OWN_URL);
    let warning = |(name, _): (&String, &String)| {
        format!(
            "variable `{name}` is the host's own URL, {own_url}, which only this machine reaches, and `{component}` does \
             not stand in for the real service, because `{set}` is set\n  fix: set SPIN_VARIABLE_{} to the URL at which \
             browsers reach the application",
            name.to_ascii_uppercase()
        )
    };
    own.map(warning).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use souk_manifest::{HostValues, LoadOptions, secrets::Secrets};

    #[test]
    fn an_own_url_that_only_this_machine_reaches_is_warned_of_when_the_real_service_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = "spin_manifest_version = 2\n[application]\nname = \"t\"\n[variables]\n\
                        site = { required = true }\nbank = { default = \"\" }\n[application.tool.souk.variables]\nsite = { generate = \"url\" }\n\
                        [[trigger.http]]\nroute = \"/...\"\ncomponent = \"a\"\n[component.a]\nsource = \"a.wasm\"\n\
                        variables = { site = \"{{ site }}\" }\n[component.play]\nsource = \"play.wasm\"\n\
                        [component.play.tool.souk]\nunless = \"bank\"\n";
        std::fs::write(folder.path().join("spin.toml"), manifest).unwrap();
        let said = |url: &str, variables: &str| {
            std::fs::write(folder.path().join(".env"), variables).unwrap();
            let options = LoadOptions { manifest: folder.path().join("spin.toml"), ..LoadOptions::default() };
            let secrets = Secrets::looked_up(folder.path().join("none"));
            let host = HostValues { url: url.to_owned(), secrets };
            warnings(&souk_manifest::read(&options).unwrap().fill_in(&host).unwrap().application, url)
        };
        for url in ["http://127.0.0.1:3000", "http://[::1]:3000", "https://localhost:3000"] {
            let real = said(url, "SPIN_VARIABLE_BANK=key\n");
            let [warning] = &real[..] else { panic!("{real:?}") };
            assert!(warning.contains("`site`") && warning.contains(url), "{warning}");
            assert!(warning.contains("fix: set SPIN_VARIABLE_SITE") && !warning.contains("key"), "{warning}");
            assert!(said(url, "").is_empty());
            assert!(said(url, "SPIN_VARIABLE_BANK=key\nSPIN_VARIABLE_SITE=https://shop.example\n").is_empty());
        }
        assert!(said("http://192.0.2.7:3000", "SPIN_VARIABLE_BANK=key\n").is_empty());
    }
}
