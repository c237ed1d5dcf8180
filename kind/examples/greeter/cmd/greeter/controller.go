package main

import (
	"context"
	"encoding/json"
	"net/http"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

var greetingKind = schema.GroupVersionKind{Group: "example.io", Version: "v1", Kind: "Greeting"}

// newGreeting is an empty Greeting. With more fields, types with deep copies made by controller-gen are worth their files.
func newGreeting() *unstructured.Unstructured {
	greeting := &unstructured.Unstructured{}
	greeting.SetGroupVersionKind(greetingKind)
	return greeting
}

// control runs the controller and the admission webhook until the context ends.
func control(ctx context.Context, namespace, certificates string, audit *audit) error {
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Cache:         cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		Metrics:       server.Options{BindAddress: "0"}, // main serves them
		WebhookServer: webhook.NewServer(webhook.Options{Port: 9443, CertDir: certificates}),
	})
	if err != nil {
		return err
	}
	manager.GetWebhookServer().Register("/validate", &webhook.Admission{Handler: admission.HandlerFunc(validate)})
	greeter := &reconciler{manager.GetClient(), audit}
	if err := ctrl.NewControllerManagedBy(manager).For(newGreeting()).Complete(greeter); err != nil {
		return err
	}
	return manager.Start(ctx)
}

// reconciler answers each Greeting in its status.
type reconciler struct {
	client.Client
	audit *audit
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	greeting := newGreeting()
	if err := r.Get(ctx, request.NamespacedName, greeting); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	name, _, _ := unstructured.NestedString(greeting.Object, "spec", "name")
	said, _, _ := unstructured.NestedString(greeting.Object, "status", "message")
	if said == message(name) {
		return ctrl.Result{}, nil
	}
	// Before the status, so that no greeting is answered without its event; one that is tried again has two.
	if err := r.audit.greeted(ctx, string(greeting.GetUID()), name, greeting.GetGeneration()); err != nil {
		return ctrl.Result{}, err
	}
	if err := unstructured.SetNestedField(greeting.Object, message(name), "status", "message"); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.Status().Update(ctx, greeting)
}

// validate refuses a Greeting that names nobody.
func validate(_ context.Context, request admission.Request) admission.Response {
	var greeting struct {
		Spec struct {
			Name string `json:"name"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(request.Object.Raw, &greeting); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if greeting.Spec.Name == "" {
		return admission.Denied("spec.name is empty: say who is greeted")
	}
	return admission.Allowed("")
}
