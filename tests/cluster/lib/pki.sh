# shellcheck shell=bash disable=SC2034 # `render` reads these by name
# One certificate authority, one certificate and kubeconfig a component. A second's work, so made anew at each start.

certificate() { # name subject [alternative-names]
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$pki/$1.key" -out "$pki/$1.csr" -subj "$2"
  {
    echo keyUsage=critical,digitalSignature
    echo extendedKeyUsage=serverAuth,clientAuth
    [[ -z ${3:-} ]] || echo "subjectAltName=$3"
  } >"$pki/$1.extensions"
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 365 \
    -extfile "$pki/$1.extensions" -out "$pki/$1.crt"
  rm "$pki/$1.csr" "$pki/$1.extensions"
}

write_kubeconfig() { # user server
  local user=$1 server=$2 ca_data crt_data key_data
  ca_data=$(base64 -w0 "$pki/ca.crt")
  crt_data=$(base64 -w0 "$pki/$1.crt")
  key_data=$(base64 -w0 "$pki/$1.key")
  render "$source_dir/config/kubeconfig.yaml"
}

make_pki() {
  local in_cluster=https://127.0.0.1:$api_port user
  local service_names=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost
  mkdir -p "$pki"
  chmod 700 "$pki"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=local-cluster-ca \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign \
    -keyout "$pki/ca.key" -out "$pki/ca.crt"
  certificate apiserver /CN=kube-apiserver "$service_names,IP:127.0.0.1,IP:$service_address,IP:$node_address"
  certificate kubelet "/O=system:nodes/CN=system:node:$node_name" "DNS:$node_name,IP:$node_address"
  certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  certificate admin /O=system:masters/CN=admin
  certificate controller-manager /CN=system:kube-controller-manager
  certificate scheduler /CN=system:kube-scheduler
  certificate proxy /CN=system:kube-proxy
  openssl genrsa -out "$pki/service-account.key" 2048
  openssl rsa -in "$pki/service-account.key" -pubout -out "$pki/service-account.pub"
  for user in kubelet controller-manager scheduler proxy admin; do
    write_kubeconfig "$user" "$in_cluster" >"$pki/$user.kubeconfig"
  done
}

publish_kubeconfig() {
  mkdir -p "$out"
  (umask 077 && write_kubeconfig admin "https://127.0.0.1:$host_port" >"$kubeconfig.partial")
  # Under sudo the tree belongs to somebody else, who wants to use the cluster.
  chown --reference="$source_dir" "$kubeconfig.partial"
  mv "$kubeconfig.partial" "$kubeconfig"
  echo "$kubeconfig" >"$state/published"
}
