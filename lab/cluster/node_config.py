"""The configuration files of a node's programs, as values."""

import json
from pathlib import Path
from typing import Any

from lab.cluster.namespaces import ADDRESS

NODE = "podtls-node"
POD_RANGE = "10.244.0.0/24"
CLUSTER_DNS = "10.96.0.10"
ZONE = "cluster.local"
CNI_PLUGINS = "/usr/lib/cni"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"

# For pods with `dnsPolicy: Default`: as on most nodes, a resolver that knows nothing of the cluster; here, no resolver.
RESOLV_CONF = "nameserver 192.0.2.53\noptions timeout:1 attempts:1\n"

COREFILE = f"""\
.:53 {{
    bind {ADDRESS}
    errors
    ready {ADDRESS}:8181
    kubernetes {ZONE} in-addr.arpa ip6.arpa {{
        kubeconfig %s
        pods verified
        ttl 1
    }}
}}
"""

# restrict_oom_score_adj: runc dies where root lacks CAP_SYS_RESOURCE ("can't get final child's PID from pipe: EOF").
# disable_apparmor: containerd would load a profile into the kernel, and it would stay there.
CONTAINERD = """\
version = 2

[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd-opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%(sandbox_image)s"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "%(cni_plugins)s"
  conf_dir = "%(cni_config)s"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""


def cni() -> dict[str, Any]:
    """Pods on veth pairs that the node routes between.

    A bridge would need the kernel's br_netfilter for Services between its ports, and not every machine has it loaded.
    """
    ipam = {"type": "host-local", "ranges": [[{"subnet": POD_RANGE}]], "routes": [{"dst": "0.0.0.0/0"}]}
    return {
        "cniVersion": "0.4.0",
        "name": "podtls",
        "plugins": [{"type": "ptp", "ipam": ipam}],
    }


def kubelet(cgroup: str, authority: Path, *, resolv_conf: Path) -> dict[str, Any]:
    """KubeletConfiguration: strict on who may ask, lenient on how full the machine is."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": str(authority)}},
        "authorization": {"mode": "Webhook"},
        # The tests ask for little CPU, so that many pods fit; as limits equal requests, init would be throttled.
        "cpuCFSQuota": False,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [CLUSTER_DNS],
        "clusterDomain": ZONE,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "resolvConf": str(resolv_conf),
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": False,
    }


def kube_proxy(kubeconfig: Path) -> dict[str, Any]:
    """KubeProxyConfiguration; conntrack limits are the machine's, so they are left alone."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": NODE,
        "healthzBindAddress": f"{ADDRESS}:10256",
        "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "0s"},
    }


def write_json(path: Path, config: dict[str, Any]) -> Path:
    """The configuration as JSON, which every reader of YAML takes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=1))
    return path
