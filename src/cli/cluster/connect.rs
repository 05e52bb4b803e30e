//! Which cluster: kubectl's own flags and files.

use std::{future::Future, path::PathBuf, time::Duration};

use clap::Args;
use futures::{Stream, TryStreamExt, stream};
use jiff::SignedDuration;
use kube::{
    Api, Client, Config, Resource,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use serde::de::DeserializeOwned;

use super::{failure::Failure, proxy};
use crate::platform::client::within;

/// For a call that nobody waits longer for, where kubectl would wait for ever.
const DEADLINE: Duration = Duration::from_secs(30);
/// What stands for no limit: longer than anybody looks at a terminal.
const UNLIMITED: Duration = Duration::from_hours(24 * 365);
/// Objects of one answer; kubectl asks for as many.
const PAGE: u32 = 500;

/// kubectl's flags, with its meanings.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection, as for kubectl")]
pub(super) struct ConnectArgs {
    /// The kubeconfig; default: $KUBECONFIG, which may name several, else ~/.kube/config, else the pod's account.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// Cluster of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    cluster: Option<String>,
    /// User of the kubeconfig.
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
    /// Namespace; default: that of the context.
    #[arg(short, long, global = true, value_name = "NAME")]
    namespace: Option<String>,
    /// Address of the API server.
    #[arg(short, long, global = true, value_name = "URL")]
    server: Option<String>,
    /// Bearer token.
    #[arg(long, global = true)]
    token: Option<String>,
    /// Act as this user.
    #[arg(long = "as", global = true, value_name = "USER")]
    as_user: Option<String>,
    /// Act as a member of this group; may be repeated.
    #[arg(long, global = true, value_name = "GROUP")]
    as_group: Vec<String>,
    /// Do not check the server's certificate.
    #[arg(long, global = true)]
    insecure_skip_tls_verify: bool,
    /// Name in the server's certificate.
    #[arg(long, global = true, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// For each call, such as 5s or 2m; 0: no limit.
    #[arg(long, global = true, value_name = "TIME", value_parser = timeout)]
    request_timeout: Option<Duration>,
}

/// A cluster that can be asked.
#[derive(Clone)]
pub(super) struct Cluster {
    pub(super) client: Client,
    /// The one given, else the context's.
    pub(super) namespace: String,
    /// `host:port`, for sentences.
    pub(super) server: String,
    deadline: Duration,
}

impl ConnectArgs {
    /// The namespace where it was given.
    pub(super) fn named_namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(super) async fn connect(&self) -> Result<Cluster, Failure> {
        let mut config = self.config().await?;
        // kube repeats 429 and 5xx for minutes; a person sees the answer and decides.
        config.default_retry = false;
        let server = config.cluster_url.authority().map_or_else(|| config.cluster_url.to_string(), ToString::to_string);
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| {
            Failure::InVain(format!("the kubeconfig cannot be used: {error}; correct the user or the cluster in it"))
        })?;
        Ok(Cluster { client, namespace, server, deadline: self.request_timeout.unwrap_or(DEADLINE) })
    }

    async fn config(&self) -> Result<Config, Failure> {
        let options =
            KubeConfigOptions { context: self.context.clone(), cluster: self.cluster.clone(), user: self.user.clone() };
        let read = self.kubeconfig.as_ref().map_or_else(usual, Kubeconfig::read_from);
        let mut names_proxy = false;
        let loaded = match read {
            Ok(file) => {
                names_proxy = proxy::is_named(&file, &options);
                Config::from_custom_kubeconfig(file, &options).await
            }
            Err(error) => Err(error),
        };
        let chosen = self.kubeconfig.is_some() || options.context.is_some() || std::env::var_os("KUBECONFIG").is_some();
        let mut config = match (loaded, &self.server) {
            (Ok(config), _) => config,
            (Err(error), None) if chosen => return Err(unusable(&error)),
            (Err(error), None) => Config::incluster().map_err(|_| unusable(&error))?,
            // The address and a token are all that is needed.
            (Err(_), Some(server)) => Config::new(address(server)?),
        };
        self.overrule(&mut config)?;
        if !names_proxy {
            config.proxy_url = proxy::of_the_environment(&config.cluster_url, |name| std::env::var(name).ok())?;
        }
        Ok(config)
    }

    fn overrule(&self, config: &mut Config) -> Result<(), Failure> {
        if let Some(server) = &self.server {
            config.cluster_url = address(server)?;
        }
        if let Some(token) = &self.token {
            config.auth_info.token = Some(token.clone().into());
        }
        if self.as_user.is_none() && !self.as_group.is_empty() {
            return Err(Failure::Usage("a group can be taken on only together with a user: add --as".to_owned()));
        }
        if let Some(user) = &self.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(self.as_group.clone());
        }
        config.accept_invalid_certs |= self.insecure_skip_tls_verify;
        config.tls_server_name = self.tls_server_name.clone().or(config.tls_server_name.take());
        Ok(())
    }
}

/// Of the files that `$KUBECONFIG` names those that are there, as for kubectl; else the usual one.
fn usual() -> Result<Kubeconfig, KubeconfigError> {
    let named = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let mut files = std::env::split_paths(&named).filter(|file| file.exists()).map(Kubeconfig::read_from);
    let Some(first) = files.next() else { return Kubeconfig::read() };
    files.try_fold(first?, |all, next| all.merge(next?))
}

fn unusable(error: &dyn std::error::Error) -> Failure {
    let mut said = error.to_string();
    if let Some(cause) = error.source().filter(|cause| !said.contains(&cause.to_string())) {
        said = format!("{said}: {cause}");
    }
    Failure::InVain(format!(
        "{said}; name a kubeconfig with --kubeconfig or KUBECONFIG, and a context of it with --context"
    ))
}

fn address<Url: std::str::FromStr>(server: &str) -> Result<Url, Failure> {
    let with_scheme = if server.contains("://") { server.to_owned() } else { format!("https://{server}") };
    with_scheme
        .parse()
        .map_err(|_| Failure::Usage(format!("{server:?} is no address; give for example https://10.0.0.1:6443")))
}

impl Cluster {
    /// Makes one call.
    pub(super) async fn ask<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
        within(self.deadline, call).await.map_err(|error| Failure::of(error, &self.server))
    }

    /// The objects of a kind, in one namespace or in all.
    pub(super) fn api<K>(&self, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// All objects, page by page.
    pub(super) async fn list<K>(&self, api: &Api<K>, params: ListParams) -> Result<Vec<K>, Failure>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        self.find(api, params, |_| true).await
    }

    /// The objects that are of interest, without ever holding more than a page of the others.
    pub(super) async fn find<K>(
        &self,
        api: &Api<K>,
        params: ListParams,
        keep: impl Fn(&K) -> bool + Copy,
    ) -> Result<Vec<K>, Failure>
    where
        K: Clone + DeserializeOwned + std::fmt::Debug,
    {
        let ask = |params: ListParams| async move { self.ask(api.list(&params)).await };
        pages(params, ask)
            .try_fold(Vec::new(), |mut kept, page| async move {
                kept.extend(page.into_iter().filter(keep));
                Ok(kept)
            })
            .await
    }
}

/// One page after another, until the server says that it was the last.
fn pages<K, Answer>(
    params: ListParams,
    ask: impl Fn(ListParams) -> Answer + Copy,
) -> impl Stream<Item = Result<Vec<K>, Failure>>
where
    K: Clone,
    Answer: Future<Output = Result<kube::core::ObjectList<K>, Failure>>,
{
    stream::try_unfold(Some(params.limit(PAGE)), move |next| async move {
        let Some(params) = next else { return Ok(None) };
        let page = ask(params.clone()).await?;
        let next = page.metadata.continue_.filter(|token| !token.is_empty()).map(|token| params.continue_token(&token));
        Ok(Some((page.items, next)))
    })
}

/// `0`, `30`, `30s`, `2m`.
fn timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()));
    let parsed =
        || text.parse::<SignedDuration>().ok().filter(|span| !span.is_negative()).map(SignedDuration::unsigned_abs);
    match seconds.or_else(parsed) {
        Some(Duration::ZERO) => Ok(UNLIMITED),
        Some(duration) => Ok(duration),
        None => Err("give for example 5s or 2m, or 0 for no limit".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("0", Some(UNLIMITED))]
    #[case("30", Some(Duration::from_secs(30)))]
    #[case("2m", Some(Duration::from_mins(2)))]
    #[case("-1s", None)]
    #[case("soon", None)]
    fn timeouts(#[case] text: &str, #[case] expected: Option<Duration>) {
        assert_eq!(timeout(text).ok(), expected);
    }

    /// Runs the flags over a kubeconfig with two contexts.
    async fn with(change: impl FnOnce(&mut ConnectArgs)) -> Result<Config, Failure> {
        let text = r#"
apiVersion: v1
kind: Config
current-context: a
clusters: [{ name: c, cluster: { server: "https://c:1" } }, { name: d, cluster: { server: "https://d:2" } }]
users: [{ name: u, user: { token: t } }]
contexts:
  - { name: a, context: { cluster: c, user: u } }
  - { name: b, context: { cluster: d, user: u, namespace: storage } }
"#;
        let file = std::env::temp_dir().join(format!("memlock-kubeconfig-{:?}", std::thread::current().id()));
        std::fs::write(&file, text).unwrap();
        let mut args = ConnectArgs { kubeconfig: Some(file.clone()), ..ConnectArgs::default() };
        change(&mut args);
        let config = args.config().await;
        std::fs::remove_file(file).unwrap();
        config
    }

    #[tokio::test]
    async fn flags_overrule_the_file() {
        let config = with(|args| args.context = Some("b".into())).await.unwrap();
        assert_eq!(
            (config.cluster_url.to_string().as_str(), config.default_namespace.as_str()),
            ("https://d:2/", "storage")
        );
        let config = with(|args| args.cluster = Some("d".into())).await.unwrap();
        assert_eq!(
            (config.cluster_url.to_string().as_str(), config.default_namespace.as_str()),
            ("https://d:2/", "default")
        );
        let config = with(|args| {
            args.server = Some("10.0.0.1:6443".into());
            args.as_user = Some("jane".into());
            args.as_group = vec!["ops".into(), "dev".into()];
            args.insecure_skip_tls_verify = true;
        })
        .await
        .unwrap();
        assert_eq!(config.cluster_url.to_string(), "https://10.0.0.1:6443/");
        assert_eq!(config.auth_info.impersonate.as_deref(), Some("jane"));
        assert_eq!(config.auth_info.impersonate_groups, Some(vec!["ops".to_owned(), "dev".to_owned()]));
        assert!(config.accept_invalid_certs);
    }

    #[tokio::test]
    async fn what_is_not_in_the_file_is_said() {
        let said = with(|args| args.context = Some("x".into())).await.unwrap_err().to_string();
        assert!(said.starts_with("error: ") && said.contains('x') && said.contains("--context"), "{said}");
        let said = with(|args| args.as_group = vec!["ops".into()]).await.unwrap_err().to_string();
        assert!(said.contains("--as"), "{said}");
        let said = with(|args| args.kubeconfig = Some("/nowhere/config".into())).await;
        assert!(said.unwrap_err().to_string().contains("/nowhere/config"));
    }
}
