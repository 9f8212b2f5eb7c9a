// Command local-cluster is every Kubernetes program of a local Millrace cluster in one file: the programs share almost all
// of their code, so one binary links in the time and the space of one.
//
// The program to run is the name it was started by (kubectl is a symbolic link to it) or, failing that, its first argument.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client and workqueue metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // build info metric
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// programs maps a program's name to what runs it; each reads os.Args as if it were a binary of its own.
var programs = map[string]func() int{
	"etcd":                    runEtcd,
	"kube-apiserver":          func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	"kube-controller-manager": func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) },
	"kube-scheduler":          func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	"kube-proxy":              func() int { return cli.Run(proxy.NewProxyCommand()) },
	"kubelet":                 func() int { return cli.Run(newKubelet()) },
	"kubectl":                 runKubectl,
	"shared-provisioner":      func() int { return cli.Run(newProvisionerCommand()) },
	"simulated-devices":       func() int { return cli.Run(newDevicesCommand()) },
	"node":                    func() int { return cli.Run(newNodeCommand()) },
	"node-init":               func() int { return cli.Run(newNodeInitCommand()) },
}

func main() {
	name := filepath.Base(os.Args[0])
	if _, known := programs[name]; !known && len(os.Args) > 1 {
		name = os.Args[1]
		os.Args = append([]string{name}, os.Args[2:]...)
	}
	program, known := programs[name]
	if !known {
		fmt.Fprintf(os.Stderr, "no program %q here; name one of: %s\n", name, strings.Join(names(), ", "))
		os.Exit(2)
	}
	os.Exit(program())
}

func names() []string {
	all := make([]string, 0, len(programs))
	for name := range programs {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}

func runEtcd() int {
	etcdmain.Main(os.Args)
	return 0
}

// newKubelet hands over a plain context: the kubelet installs its own signal handling, and a second one panics.
func newKubelet() *cobra.Command {
	return kubelet.NewKubeletCommand(context.Background())
}

func runKubectl() int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // prints as kubectl does, and exits
	}
	return 0
}
