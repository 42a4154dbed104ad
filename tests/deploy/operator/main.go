// Command operator does with a pod what the OpenTelemetry Operator does with it. It is built inside a copy of the
// Operator's module, whose packages it uses; see tests/deploy/install-tools.
//
//	operator COLLECTOR.json POD.json
//
// COLLECTOR.json is an OpenTelemetryCollector in mode sidecar, POD.json a pod that asks for it. It writes the pod with
// the sidecar, and the container that a Deployment of the same collector would have, with its configuration file.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/open-telemetry/opentelemetry-operator/apis/v1beta1"
	"github.com/open-telemetry/opentelemetry-operator/internal/config"
	"github.com/open-telemetry/opentelemetry-operator/internal/manifests/collector"
	"github.com/open-telemetry/opentelemetry-operator/pkg/sidecar"
)

type result struct {
	Pod       corev1.Pod       `json:"pod"`
	Container corev1.Container `json:"container"`
	Config    string           `json:"config"`
}

func main() {
	found, err := inject(os.Args[1], os.Args[2])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(found)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func inject(collectorFile, podFile string) (found result, err error) {
	var instance v1beta1.OpenTelemetryCollector
	var pod corev1.Pod
	if err = read(collectorFile, &instance); err != nil {
		return found, err
	}
	if err = read(podFile, &pod); err != nil {
		return found, err
	}
	// What the Operator's webhook does when the resource is created.
	if _, err = instance.Spec.Config.ApplyDefaults(logr.Discard()); err != nil {
		return found, err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, v1beta1.AddToScheme} {
		if err = add(scheme); err != nil {
			return found, err
		}
	}
	settings := config.New()
	settings.Internal.NativeSidecarSupport = true
	settings.CollectorConfigMapEntry = "collector.yaml"
	client := fake.NewClientBuilder().WithScheme(scheme).WithObjects(instance.DeepCopy()).Build()
	namespace := corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: pod.Namespace}}
	if found.Pod, err = sidecar.NewMutator(logr.Discard(), settings, client).Mutate(context.Background(), namespace, pod); err != nil {
		return found, err
	}
	found.Container = collector.Container(settings, logr.Discard(), instance, true)
	found.Config, err = collector.ReplaceConfig(instance, nil)
	return found, err
}

func read(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
