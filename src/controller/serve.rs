//! The controller process: a lease, and for its holder watch, checks and certificate.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::SignedDuration;

use super::{debug, devices, engine::Engine, events::Events, metrics::Metrics, schedule::Schedule, watch::watch};
use crate::platform::{
    admin,
    certs::{Lives, Names, PublishedMetrics, Publisher, Source},
    client,
    lease::{self, Lease},
    metrics,
    runtime::{Readiness, Supervisor},
};

/// Flags of `memlock-operator controller`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Address of /livez and /readyz, plain HTTP.
    #[arg(long, env = "MEMLOCK_ADMIN_LISTEN", default_value = "[::]:8080")]
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
    /// Runtime classes whose containers share the node's kernel, comma separated; pods of another class are not checked,
    /// as a lock under a kernel of its own (gVisor, Kata) says nothing of the node's memory.
    #[arg(long, env = "MEMLOCK_RUNTIME_CLASSES", value_delimiter = ',')]
    pub runtime_classes: Vec<String>,
    /// Who makes the webhook's certificate.
    #[arg(long, env = "MEMLOCK_CERTIFICATES", value_enum, default_value = "internal")]
    pub certificates: Certificates,
    /// Life of a certificate that this process makes, such as 2160h; it is replaced when a third is left.
    #[arg(long, env = "MEMLOCK_CERTIFICATE_LIFE", default_value = "2160h", value_parser = life)]
    pub certificate_life: SignedDuration,
    /// Life of an authority that this process makes, three times that of a certificate at least.
    #[arg(long, env = "MEMLOCK_AUTHORITY_LIFE", default_value = "8760h", value_parser = life)]
    pub authority_life: SignedDuration,
    /// Whether caBundle in the webhook configuration is written by this process.
    #[arg(long, env = "MEMLOCK_MANAGE_CA_BUNDLE", action = clap::ArgAction::Set, default_value_t = true)]
    pub manage_ca_bundle: bool,
    /// The Lease by which one of several controllers leads: it checks and reports, the others wait.
    #[arg(long, env = "MEMLOCK_LEASE")]
    pub lease: String,
    /// The namespace of that Service, that Secret and that Lease.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,
    /// This process in Events and in the Lease; the pod's name.
    #[arg(long, env = "POD_NAME")]
    pub instance: Option<String>,
}

/// Where the webhook's certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Certificates {
    /// This process makes it.
    Internal,
    /// Somebody else puts it into the Secret.
    Secret,
}

impl Args {
    fn source(&self) -> Result<Source> {
        let lives = Lives { certificate: self.certificate_life, authority: self.authority_life };
        ensure!(
            lives.certificate.saturating_mul(3) <= lives.authority,
            "--authority-life is {}, less than three times --certificate-life, {}: make it longer",
            lives.authority,
            lives.certificate
        );
        Ok(match self.certificates {
            Certificates::Internal => Source::Internal(lives),
            Certificates::Secret => Source::Secret,
        })
    }
}

/// Checks and reports, or waits for the lease to do so, until told to stop.
pub async fn run(args: Args) -> Result<()> {
    let mut supervisor = Supervisor::new();
    let shutdown = supervisor.shutdown();
    let readiness = Readiness::new(["lease"]);
    let source = args.source()?;
    let mut registry = metrics::registry();

    let lease = Lease::new(
        Lease::api(&client::connect().await?, &args.namespace),
        args.lease,
        args.instance.as_deref().unwrap_or("controller"),
        lease::Metrics::register(&mut registry),
        readiness.clone(),
        "lease",
    );
    let leadership = lease.leadership();
    let client = client::connect_as_leader(&leadership).await?;
    let names = Names {
        namespace: args.namespace,
        secret: args.certificate_secret,
        service: args.webhook_service,
        configuration: args.webhook_configuration,
    };
    let certificate_metrics = PublishedMetrics::register(&mut registry);
    let publisher = Publisher::new(&client, names, source, args.manage_ca_bundle, certificate_metrics);
    let metrics = Metrics::register(&mut registry);
    let (devices, news) = devices::channel();
    let (pages, questions) = debug::page(move || leadership.is_held());
    let events = Events::new(client.clone(), args.instance, metrics.clone());
    let engine = Engine::new(client.clone(), events, metrics.clone(), devices);
    let changes = watch(&client, &args.namespaces);

    let work = {
        let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
        async move {
            for gate in ["certificate", "pods"] {
                readiness.close(gate);
            }
            let publishing = async {
                shutdown.unless_stopped(Box::pin(publisher.run(readiness.clone(), "certificate"))).await;
                Ok(())
            };
            let telling = devices::run(client, args.namespaces, news, args.interval, metrics, shutdown.clone());
            let schedule = Schedule::new(args.interval, args.runtime_classes.into());
            let checking = engine.run(changes, questions, schedule, readiness.clone(), shutdown.clone());
            tokio::try_join!(publishing, telling, checking).map(|_| ())
        }
    };
    supervisor.spawn("admin", admin::serve(args.admin_listen, readiness, registry, pages, shutdown.clone()));
    supervisor.spawn("lease", lease.lead(shutdown, work));
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

/// From half a minute, in which the kubelet of a test can just follow, to ten years.
fn life(text: &str) -> Result<SignedDuration> {
    let parsed: SignedDuration =
        text.parse().with_context(|| format!("{text:?} is no duration; give for example 2160h"))?;
    let allowed = SignedDuration::from_secs(30)..=SignedDuration::from_hours(24 * 3_650);
    ensure!(allowed.contains(&parsed), "{text:?} is out of range; give something between 30s and 87600h");
    Ok(parsed)
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
