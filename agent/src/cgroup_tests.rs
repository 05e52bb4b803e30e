use super::{is_at_or_below, named_by_id};

const ID: &str = "705a0c4dab12acdf1c1138fcb1f6e774b56870b1906327bd1bbe63ab88b8398f";

#[test]
fn the_group_of_a_container_bears_its_id() {
    for (path, container) in [
        ("/kubepods/burstable/pod1/ID", Some("/kubepods/burstable/pod1/ID")),
        (
            "/kubepods.slice/pod1.slice/cri-containerd-ID.scope",
            Some("/kubepods.slice/pod1.slice/cri-containerd-ID.scope"),
        ),
        // An exec beside the first process, in a group that the container made.
        ("/kubepods.slice/cri-containerd-ID.scope/init", Some("/kubepods.slice/cri-containerd-ID.scope")),
        ("/kubepods.slice/crio-ID.scope/container", Some("/kubepods.slice/crio-ID.scope")),
        // A node that is a container itself.
        ("/docker/ID/kubelet/kubepods/ID", Some("/docker/ID/kubelet/kubepods/ID")),
        ("/docker/ID/kubelet/kubepods/ID/a/b", Some("/docker/ID/kubelet/kubepods/ID")),
        ("/ID0", None),
        ("/user.slice/session-1.scope", None),
        ("/", None),
        ("", None),
    ] {
        let (path, container) = (path.replace("ID", ID), container.map(|path| path.replace("ID", ID)));
        assert_eq!(named_by_id(path.as_bytes()), container.as_deref().map(str::as_bytes), "{path}");
    }
}

#[test]
fn a_group_holds_what_is_below() {
    for (path, group, held) in [
        ("/a/b", "/a/b", true),
        ("/a/b/c", "/a/b", true),
        ("/a/b/c/d", "/a/b", true),
        ("/a/bc", "/a/b", false),
        ("/a", "/a/b", false),
        ("/", "/", true),
        ("/init", "/", true),
        ("/..data", "/", true),
        ("/..", "/", false),
        ("/../neighbour", "/", false),
        ("/../neighbour", "/../neighbour", true),
        ("/a", "", false),
        ("", "", false),
        ("", "/a", false),
    ] {
        assert_eq!(is_at_or_below(path.as_bytes(), group.as_bytes()), held, "{path} in {group}");
    }
}
