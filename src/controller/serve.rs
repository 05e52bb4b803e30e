//! The controller process: watch, checks, certificate.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::SignedDuration;

use super::{debug, devices, engine::Engine, events::Events, metrics::Metrics, watch::watch};
use crate::platform::{
    admin,
    certs::{Names, Publisher},
    client, metrics,
    runtime::{Readiness, Supervisor},
};

/// Flags of `memlock-operator controller`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address of /livez and /readyz, plain HTTP.
    #[arg(long, env = "MEMLOCK_ADMIN_LISTEN", default_value = "0.0.0.0:8080")]
    pub admin_listen: SocketAddr,
    /// How often a container that stays as it is gets checked, such as 5m or 1h30m.
    #[arg(long, env = "MEMLOCK_INTERVAL", default_value = "5m", value_parser = interval)]
    pub interval: Duration,
    /// The MutatingWebhookConfiguration whose caBundle is kept.
    #[arg(long, env = "MEMLOCK_WEBHOOK_CONFIGURATION")]
    pub webhook_configuration: String,
    /// The Service by which the API server calls the webhook.
    #[arg(long, env = "MEMLOCK_WEBHOOK_SERVICE")]
    pub webhook_service: String,
    /// The Secret that holds the webhook's certificate.
    #[arg(long, env = "MEMLOCK_CERTIFICATE_SECRET")]
    pub certificate_secret: String,
    /// Namespaces whose pods are checked, comma separated; none: all of them.
    #[arg(long, value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// The namespace of that Service and that Secret.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,
    /// This process in Events; the pod's name.
    #[arg(long, env = "POD_NAME")]
    pub instance: Option<String>,
}

/// Checks and reports until told to stop.
pub async fn run(args: Args) -> Result<()> {
    let mut supervisor = Supervisor::new();
    let shutdown = supervisor.shutdown();
    let readiness = Readiness::new(["certificate", "pods"]);
    let client = client::connect().await?;

    let names = Names {
        namespace: args.namespace,
        secret: args.certificate_secret,
        service: args.webhook_service,
        configuration: args.webhook_configuration,
    };
    let mut registry = metrics::registry();
    let publisher = Publisher::new(&client, names);
    let metrics = Metrics::register(&mut registry);
    let (devices, news) = devices::channel();
    let (pages, questions) = debug::page();
    let events = Events::new(client.clone(), args.instance, metrics.clone());
    let engine = Engine::new(client.clone(), events, metrics.clone(), devices);
    let changes = watch(&client, &args.namespaces);

    supervisor.spawn("admin", admin::serve(args.admin_listen, readiness.clone(), registry, pages, shutdown.clone()));
    supervisor.spawn("certificate", {
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        async move {
            shutdown.unless_stopped(Box::pin(publisher.run(readiness, "certificate"))).await;
            Ok(())
        }
    });
    supervisor.spawn("devices", devices::run(client, args.namespaces, news, args.interval, metrics, shutdown.clone()));
    supervisor.spawn("checks", engine.run(changes, questions, args.interval, readiness, shutdown));
    supervisor.run().await
}

/// From a second to a day: shorter would load the daemons, longer would see nothing.
fn interval(text: &str) -> Result<Duration> {
    let parsed: SignedDuration =
        text.parse().with_context(|| format!("{text:?} is no duration; give for example 5m"))?;
    let allowed = SignedDuration::from_secs(1)..=SignedDuration::from_hours(24);
    ensure!(allowed.contains(&parsed), "{text:?} is out of range; give something between 1s and 24h");
    Ok(parsed.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::minutes("5m", Some(300))]
    #[case::mixed("1h30m", Some(5400))]
    #[case::zero("0s", None)]
    #[case::negative("-5m", None)]
    #[case::bare("300", None)]
    #[case::too_long("25h", None)]
    fn intervals(#[case] text: &str, #[case] seconds: Option<u64>) {
        assert_eq!(interval(text).ok().map(|d| d.as_secs()), seconds);
    }
}
