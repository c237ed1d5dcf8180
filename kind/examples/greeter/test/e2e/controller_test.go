package e2e

import (
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var _ = Describe("A Greeting", func() {
	var cluster client.Client

	BeforeEach(func() {
		if os.Getenv("E2E_TARGET") == "local" {
			Skip("on --target local there is no cluster, and so neither controller nor webhook")
		}
		config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
		Expect(err).NotTo(HaveOccurred())
		cluster, err = client.New(config, client.Options{})
		Expect(err).NotTo(HaveOccurred())
	})

	It("is answered in its status, with an audit event", func(ctx SpecContext) {
		greeting := newGreeting("linus")
		Expect(cluster.Create(ctx, greeting)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(cluster.Delete(ctx, greeting)).To(Succeed()) })

		Eventually(ctx, func(g Gomega) {
			g.Expect(cluster.Get(ctx, client.ObjectKeyFromObject(greeting), greeting)).To(Succeed())
			g.Expect(greeting.Object).To(HaveKeyWithValue("status", HaveKeyWithValue("message", "Hello, linus!")))
		}).Should(Succeed())
		Eventually(ctx, events).WithArguments(string(greeting.GetUID())).Should(
			ContainElement(HaveKeyWithValue("resource_id", "linus")))
	}, SpecTimeout(time.Minute))

	It("of nobody is refused by the webhook", func(ctx SpecContext) {
		Expect(cluster.Create(ctx, newGreeting(""))).To(MatchError(ContainSubstring("spec.name is empty")))
	}, SpecTimeout(time.Minute))
})

func newGreeting(name string) *unstructured.Unstructured {
	greeting := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{"name": name}}}
	greeting.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.io", Version: "v1", Kind: "Greeting"})
	greeting.SetNamespace(os.Getenv("E2E_NAMESPACE"))
	greeting.SetGenerateName("greeting-")
	return greeting
}
