# Sourced by up.sh: the cluster's own authority, a key and a configuration for each program. In the current folder.
authority() {
    openssl req -x509 -newkey rsa:2048 -nodes -keyout pki/ca.key -out pki/ca.crt -days 365 -subj /CN=kubernetes-ca 2>/dev/null
    openssl genrsa -out pki/sa.key 2048 2>/dev/null
    openssl rsa -in pki/sa.key -pubout -out pki/sa.pub 2>/dev/null
}

# certificate NAME SUBJECT [ALTERNATIVE NAMES]
certificate() {
    openssl req -newkey rsa:2048 -nodes -keyout "pki/$1.key" -out "pki/$1.csr" -subj "$2" 2>/dev/null
    openssl x509 -req -in "pki/$1.csr" -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -days 365 -out "pki/$1.crt" \
        -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "${3:-DNS:$1}") 2>/dev/null
}

# configuration USER: USER.conf, to reach the API server
configuration() {
    cat >"$1.conf" <<C
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://$NODE_IP:6443", certificate-authority: $RUN/pki/ca.crt}}]
users: [{name: u, user: {client-certificate: $RUN/pki/$1.crt, client-key: $RUN/pki/$1.key}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
C
}

certificates() {
    authority
    certificate apiserver /CN=kube-apiserver \
        "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:10.96.0.1,IP:$NODE_IP"
    certificate admin /O=system:masters/CN=admin
    certificate cm /CN=system:kube-controller-manager
    certificate sched /CN=system:kube-scheduler
    certificate kubelet /O=system:nodes/CN=system:node:node1 DNS:node1,IP:127.0.0.1,IP:"$NODE_IP"
    certificate proxy /CN=system:kube-proxy
    certificate apiserver-kubelet /O=system:masters/CN=apiserver-kubelet
    for user in admin cm sched kubelet proxy; do
        configuration $user
    done
}
