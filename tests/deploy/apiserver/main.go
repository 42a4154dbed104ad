// Command apiserver is a Kubernetes API server with its etcd inside: what the chart and its admission policy are
// tried against. It takes kube-apiserver's own flags, but for --etcd-servers, and --etcd-dir, the folder of its etcd.
package main

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	folder, flags := etcdFolder(os.Args[1:])
	endpoint, err := startEtcd(folder)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	command := app.NewAPIServerCommand()
	command.SetArgs(append(flags, "--etcd-servers="+endpoint))
	os.Exit(cli.Run(command))
}

func etcdFolder(arguments []string) (folder string, flags []string) {
	for _, argument := range arguments {
		if value, found := strings.CutPrefix(argument, "--etcd-dir="); found {
			folder = value
		} else {
			flags = append(flags, argument)
		}
	}
	return folder, flags
}

func startEtcd(folder string) (endpoint string, err error) {
	config := embed.NewConfig()
	config.Dir = folder
	config.LogLevel = "error"
	config.UnsafeNoFsync = true
	loopback := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	config.ListenClientUrls, config.ListenPeerUrls = loopback, loopback
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return "", fmt.Errorf("etcd: %w", err)
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return "http://" + etcd.Clients[0].Addr().String(), nil
	case <-time.After(time.Minute):
		return "", fmt.Errorf("etcd in %s was not ready within a minute", folder)
	}
}
