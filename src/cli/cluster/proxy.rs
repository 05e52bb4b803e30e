//! Between us and the API server, as for kubectl: what the kubeconfig names, else what the environment does.

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::failure::Failure;

/// Whether the chosen cluster of the kubeconfig has a `proxy-url`, which holds whatever the environment says.
pub(super) fn is_named(file: &Kubeconfig, options: &KubeConfigOptions) -> bool {
    let context = options.context.as_ref().or(file.current_context.as_ref());
    let context =
        file.contexts.iter().find(|named| Some(&named.name) == context).and_then(|named| named.context.as_ref());
    let cluster = options.cluster.as_ref().or(context.map(|context| &context.cluster));
    let cluster =
        file.clusters.iter().find(|named| Some(&named.name) == cluster).and_then(|named| named.cluster.as_ref());
    cluster.and_then(|cluster| cluster.proxy_url.as_ref()).is_some_and(|url| !url.is_empty())
}

/// The proxy for this server, by `HTTPS_PROXY` and `NO_PROXY` as Go's clients read them: never for this machine itself. kube
/// holds `NO_PROXY` against the proxy's own name.
pub(super) fn of_the_environment(
    server: &Uri,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Uri>, Failure> {
    let either = |name: &str| {
        let all = [name.to_uppercase(), name.to_owned()];
        all.iter().find_map(|name| variable(name).filter(|value| !value.is_empty()))
    };
    let Some(proxy) = either("https_proxy") else { return Ok(None) };
    let matcher = Matcher::builder().https(proxy.clone()).no(either("no_proxy").unwrap_or_default()).build();
    if is_this_machine(server) || server.scheme_str() != Some("https") || matcher.intercept(server).is_none() {
        return Ok(None);
    }
    let proxy = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
    let wrong = |error| Failure::InVain(format!("HTTPS_PROXY is {proxy:?}, which is no address ({error}); correct it"));
    proxy.parse().map(Some).map_err(wrong)
}

fn is_this_machine(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::nothing("https://api.example:6443", "", "", None)]
    #[case::all("https://api.example:6443", "http://proxy:3128", "", Some("http://proxy:3128/"))]
    #[case::without_a_scheme("https://api.example", "proxy:3128", "", Some("http://proxy:3128/"))]
    #[case::with_a_user("https://api.example", "http://me:pass@proxy:3128", "", Some("http://me:pass@proxy:3128/"))]
    #[case::socks("https://api.example", "socks5://proxy:1080", "", Some("socks5://proxy:1080/"))]
    #[case::not_for_it("https://api.example:6443", "http://proxy:3128", "other,api.example", None)]
    #[case::not_for_its_domain("https://api.in.example:6443", "http://proxy:3128", ".example", None)]
    #[case::not_for_its_network("https://10.1.2.3:6443", "http://proxy:3128", "10.0.0.0/8", None)]
    #[case::for_another_network(
        "https://10.1.2.3:6443",
        "http://proxy:3128",
        "192.168.0.0/16",
        Some("http://proxy:3128/")
    )]
    #[case::for_the_proxy_itself("https://api.example", "http://proxy:3128", "proxy", Some("http://proxy:3128/"))]
    #[case::not_for_this_machine("https://127.0.0.1:6443", "http://proxy:3128", "", None)]
    #[case::nor_by_another_name("https://localhost:6443", "http://proxy:3128", "", None)]
    #[case::nor_over_ipv6("https://[::1]:6443", "http://proxy:3128", "", None)]
    #[case::not_without_tls("http://api.example", "http://proxy:3128", "", None)]
    fn who_stands_between(#[case] server: &str, #[case] proxy: &str, #[case] no: &str, #[case] expected: Option<&str>) {
        for names in [["HTTPS_PROXY", "NO_PROXY"], ["https_proxy", "no_proxy"]] {
            let values = names.into_iter().zip([proxy, no]);
            let variable =
                |name: &str| values.clone().find(|(known, _)| *known == name).map(|(_, value)| value.to_owned());
            let found = of_the_environment(&server.parse().unwrap(), variable).unwrap();
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), expected);
        }
    }

    #[test]
    fn what_the_kubeconfig_names_is_known_by_the_chosen_cluster() {
        let file = Kubeconfig::from_yaml(
            "{current-context: a, contexts: [{name: a, context: {cluster: through}}, {name: b, context: {cluster: direct}}], \
             clusters: [{name: through, cluster: {server: 'https://a', proxy-url: 'http://p:1'}}, {name: direct, cluster: {server: 'https://b'}}]}",
        )
        .unwrap();
        let options = |context: Option<&str>, cluster: Option<&str>| KubeConfigOptions {
            context: context.map(str::to_owned),
            cluster: cluster.map(str::to_owned),
            user: None,
        };
        assert!(is_named(&file, &options(None, None)));
        assert!(!is_named(&file, &options(Some("b"), None)));
        assert!(is_named(&file, &options(Some("b"), Some("through"))));
        assert!(!is_named(&file, &options(Some("nowhere"), None)));
    }
}
