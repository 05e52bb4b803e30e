//! Annotated pods by dry run at a steady rate, as long as the test lasts.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams};
use serde_json::Value;

/// The rate is that of each of these, not of the whole time.
pub const WINDOW: Duration = Duration::from_secs(5);
/// 25 pods a second.
const PAUSE: Duration = Duration::from_millis(40);
/// More than the API server gives to a webhook.
const DEADLINE: Duration = Duration::from_secs(15);

#[derive(Default)]
pub struct Outcomes {
    /// When it was asked, since the start, and how long the answer took.
    pub admitted: Vec<(Duration, Duration)>,
    /// When, since the start, and what was said.
    pub failed: Vec<(Duration, String)>,
    pub lasted: Duration,
}

impl Outcomes {
    /// How many pods of each window were admitted, without the last one, which is not whole.
    pub fn windows(&self) -> Vec<usize> {
        let number = |at: Duration| usize::try_from(at.as_secs() / WINDOW.as_secs()).unwrap();
        let mut windows = vec![0; number(self.lasted)];
        for (at, _) in &self.admitted {
            if let Some(count) = windows.get_mut(number(*at)) {
                *count += 1;
            }
        }
        windows
    }
}

pub async fn admit(client: Client, namespace: String, pod: Value, stop: Arc<AtomicBool>) -> Outcomes {
    let outcomes: Arc<Mutex<Outcomes>> = Arc::default();
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let mut tick = tokio::time::interval(PAUSE);
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let pod: Pod = serde_json::from_value(pod).unwrap();
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let (pods, mut pod, outcomes) = (pods.clone(), pod.clone(), outcomes.clone());
        pod.metadata.name = Some(format!("load-{}", start.elapsed().as_millis()));
        tasks.spawn(async move {
            let sent = Instant::now();
            let parameters = PostParams { dry_run: true, ..PostParams::default() };
            let answer = tokio::time::timeout(DEADLINE, pods.create(&parameters, &pod)).await;
            let mut outcomes = outcomes.lock().unwrap();
            match answer {
                Ok(Ok(pod)) if serde_json::to_string(&pod).unwrap().contains("\"IPC_LOCK\"") => {
                    outcomes.admitted.push((sent - start, sent.elapsed()));
                }
                Ok(Ok(_)) => outcomes.failed.push((start.elapsed(), "admitted without the capability".to_owned())),
                Ok(Err(error)) => outcomes.failed.push((start.elapsed(), error.to_string())),
                Err(_) => outcomes.failed.push((start.elapsed(), format!("no answer within {DEADLINE:?}"))),
            }
        });
        while tasks.try_join_next().is_some() {}
    }
    let lasted = start.elapsed();
    tasks.join_all().await;
    let outcomes = std::mem::take(&mut *outcomes.lock().unwrap());
    Outcomes { lasted, ..outcomes }
}
