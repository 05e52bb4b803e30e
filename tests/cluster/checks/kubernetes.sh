# shellcheck shell=bash disable=SC2015 # a case is a chain of conditions; what follows || says why any of them failed
# Cases: what runs is a working Kubernetes.

make_test_image() {
  local buildah=(buildah --storage-driver vfs --root "$work/buildah" --runroot "$work/buildah-run")
  cp "$(command -v busybox)" "$work/busybox"
  printf '%s\n' 'FROM scratch' 'COPY busybox /bin/busybox' 'COPY busybox /bin/sh' 'ENV PATH=/bin' >"$work/Containerfile"
  "${buildah[@]}" bud --isolation chroot --timestamp 0 -t localhost/check:1 -f "$work/Containerfile" "$work" &&
    "${buildah[@]}" push localhost/check:1 "docker-archive:$work/check.tar:localhost/check:1"
}

loaded_image() {
  make_test_image && expect "loaded" "$("$cluster" load "$work/check.tar")" "loaded localhost/check:1" || return 1
  ! "$cluster" load "$work/Containerfile" && ! "$cluster" load "$work/no-such-file"
}

pods_run() {
  kubectl apply -f - <<'PODS' && kubectl wait --for=condition=Ready pod/server pod/namespaced --timeout=30s || {
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: server
      image: localhost/check:1
      command: [sh, -c, "busybox mkdir /www; echo served > /www/index.html; echo started; exec busybox httpd -f -p 8080 -h /www"]
      readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: namespaced}
spec:
  hostUsers: false
  terminationGracePeriodSeconds: 0
  containers:
    - {name: sleeper, image: "localhost/check:1", command: [busybox, sleep, "1000"]}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
PODS
    kubectl get events
    return 1
  }
}

logs() { expect "logs" "$(kubectl logs server)" started; }

exec_and_seccomp() {
  expect "seccomp mode" "$(kubectl exec server -- busybox sed -n 's/^Seccomp:\t//p' /proc/self/status)" 2 &&
    expect "stdin" "$(echo typed | kubectl exec -i server -- busybox cat)" typed &&
    expect "exit code" "$(kubectl exec server -- sh -c 'exit 7' >/dev/null 2>&1; echo $?)" 7
}

user_namespace() {
  local outside
  read -r _ outside _ < <(kubectl exec namespaced -- busybox cat /proc/self/uid_map)
  [[ $outside -gt 0 ]] || {
    echo "uid 0 of the pod is uid '$outside' of the node"
    return 1
  }
}

port_forward() {
  local pid port answer
  kubectl port-forward pod/server :8080 >"$work/forward" 2>&1 &
  pid=$!
  eventually 10 grep -q '127.0.0.1:' "$work/forward"
  port=$(sed -n 's/.*127.0.0.1:\([0-9]*\) .*/\1/p' "$work/forward")
  answer=$(printf 'GET / HTTP/1.0\r\n\r\n' | timeout 5 socat - "TCP:127.0.0.1:$port" | tail -n 1)
  kill "$pid"
  wait "$pid" 2>/dev/null
  expect "answer" "$answer" served
}

service() { # through kube-proxy, from another pod and from the node
  local address
  address=$(kubectl get service server -o 'jsonpath={.spec.clusterIP}')
  expect "from a pod" "$(kubectl exec namespaced -- busybox wget -qO- "http://$address/")" served &&
    expect "from the node" "$("$cluster" in busybox wget -qO- "http://$address/")" served
}

no_uplink() { expect "routes out of the node" "$("$cluster" in ip -o link | grep -cE ' (eth|en|wl)[^:]*:')" 0; }

components_come_back() {
  kubectl create configmap kept --from-literal=a=b || return 1
  local component
  for component in etcd kube-apiserver; do
    "$cluster" stop "$component" && expect "status" "$("$cluster" status)" "running (KUBECONFIG=$KUBECONFIG)" &&
      ! kubectl get configmap kept --request-timeout=3s && "$cluster" start "$component" || return 1
    expect "the object" "$(kubectl get configmap kept -o 'jsonpath={.data.a}')" b || return 1
  done
  ! "$cluster" stop no-such-component && kubectl delete configmap kept
}
