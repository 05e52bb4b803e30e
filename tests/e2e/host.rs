//! The truth: what the node's kernel says of a container, read as root from outside.

use std::{collections::HashMap, fs, path::PathBuf, time::Duration};

/// Process ids, in the host's numbers, of the container with this runtime id.
pub fn processes(container_id: &str) -> Vec<u32> {
    processes_of(&[container_id]).remove(container_id).unwrap_or_default()
}

/// The same of several containers, by one walk; those without a process are left out.
pub fn processes_of(container_ids: &[&str]) -> HashMap<String, Vec<u32>> {
    let mut found: HashMap<String, Vec<u32>> = HashMap::new();
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    // cgroup v1 shows a first thread that has ended in no group.
    let group = |folder: &PathBuf| fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
    for pid in all {
        let groups: String = threads(pid).iter().map(group).collect();
        if let Some(id) = container_ids.iter().find(|id| groups.contains(**id)) {
            found.entry((*id).to_owned()).or_default().push(pid);
        }
    }
    found
}

/// The folders in `/proc` of a process and of each thread of it.
pub fn threads(pid: u32) -> Vec<PathBuf> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let threads = fs::read_dir(process.join("task")).into_iter().flatten();
    let threads: Vec<_> = threads.filter_map(|entry| Some(entry.ok()?.path())).collect();
    [vec![process], threads].concat()
}

/// Moves a process into a group `below` the one that it is in, in these hierarchies of cgroup v1.
pub fn move_below(pid: u32, hierarchies: &[&str]) {
    for hierarchy in hierarchies {
        let below = group_of(pid, hierarchy).join("below");
        fs::create_dir_all(&below).unwrap();
        fs::write(below.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

/// The container's first process: the one that is number 1 in its own namespace.
pub fn first_process(container_id: &str) -> u32 {
    let found = processes(container_id).into_iter().find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line.starts_with("NSpid:") && line.split_whitespace().next_back() == Some("1"))
    });
    found.unwrap_or_else(|| panic!("container {container_id} has no first process on this machine"))
}

/// A line of `/proc/PID/status`.
pub fn status(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().to_owned()
}

/// A size of `/proc/PID/status`, in kB.
pub fn kilobytes(pid: u32, field: &str) -> u64 {
    status(pid, field).strip_suffix(" kB").unwrap().parse().unwrap()
}

/// A limit of `/proc/PID/limits`, as it stands there.
pub fn soft_limit(pid: u32, name: &str) -> String {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

/// Any map but the whole range onto itself.
pub fn in_user_namespace(pid: u32) -> bool {
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The container's memory control group, as the host mounts it. The local cluster runs on cgroup v1.
pub fn memory_group(container_id: &str) -> PathBuf {
    group("memory", container_id)
}

/// The container's group in one hierarchy of cgroup v1.
pub fn group(controller: &str, container_id: &str) -> PathBuf {
    group_of(first_process(container_id), controller)
}

fn group_of(pid: u32, controller: &str) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.lines().find_map(|line| line.split_once(&format!(":{controller}:/"))).map(|(_, path)| path);
    PathBuf::from("/sys/fs/cgroup").join(controller).join(path.expect("a hierarchy of cgroup v1"))
}

/// A pod that stands still until this goes: an exec into it hangs. The whole pod, as the runtime refuses an exec where the
/// container itself is frozen.
pub struct Frozen(PathBuf);

impl Frozen {
    pub fn new(container_id: &str) -> Self {
        let frozen = Self(group("freezer", container_id).parent().unwrap().join("freezer.state"));
        fs::write(&frozen.0, "FROZEN").unwrap();
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = fs::write(&self.0, "THAWED");
    }
}

/// How long ago a process was started; `None`: it is gone.
pub fn age(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything; behind it the start is field 22, in hundredths of a second since boot (`proc_pid_stat(5)`).
    let started: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_secs_f64(uptime).saturating_sub(Duration::from_millis(started * 10)))
}

/// Processes that were started with this among their arguments, such as a runtime at work for a container.
pub fn with_argument(argument: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let given = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    };
    all.filter(given).collect()
}

/// A file that goes with the test.
pub struct File(std::path::PathBuf);

impl File {
    pub fn create(path: &str, text: &str) -> Self {
        let path = std::path::PathBuf::from(path);
        fs::write(&path, text).unwrap_or_else(|e| panic!("{} cannot be written: {e}", path.display()));
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
