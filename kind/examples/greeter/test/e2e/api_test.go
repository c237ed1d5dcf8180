package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/redis/go-redis/v9"
	"k8s.io/apimachinery/pkg/util/uuid"
)

var _ = Describe("The API", func() {
	It("counts each greeting in Valkey", func(ctx SpecContext) {
		options, err := redis.ParseURL(os.Getenv("VALKEY_URL"))
		Expect(err).NotTo(HaveOccurred())
		options.Password = os.Getenv("VALKEY_PASSWORD")
		valkey := redis.NewClient(options)
		DeferCleanup(valkey.Close)

		name := unique("ada")
		Expect(greet(ctx, name, unique("test"))).To(HaveKeyWithValue("message", "Hello, "+name+"!"))
		Expect(greet(ctx, name, unique("test"))).To(HaveKeyWithValue("count", BeEquivalentTo(2)))
		Expect(valkey.HGet(ctx, "greetings", name).Result()).To(Equal("2"))
	}, SpecTimeout(time.Minute))

	It("lists what was greeted before the suite", func(ctx SpecContext) {
		Expect(get(ctx, os.Getenv("GREETER_URL")+"/greetings")).To(ContainSubstring(`"seed":`))
	}, SpecTimeout(time.Minute))

	It("refuses a greeting of nobody", func(ctx SpecContext) {
		status, _ := send(ctx, http.MethodPost, os.Getenv("GREETER_URL")+"/greetings", `{}`, nil)
		Expect(status).To(Equal(http.StatusBadRequest))
	}, SpecTimeout(time.Minute))

	It("writes an audit event for each greeting", func(ctx SpecContext) {
		name, correlation := unique("grace"), unique("test")
		greet(ctx, name, correlation)
		Eventually(ctx, events).WithArguments(correlation).Should(ConsistOf(And(
			HaveKeyWithValue("event_type", "greeting.sent"),
			HaveKeyWithValue("resource_id", name),
			HaveKeyWithValue("event_data", HaveKeyWithValue("count", BeEquivalentTo(1))),
		)))
	}, SpecTimeout(time.Minute))

	It("shows its greetings in the metrics", func(ctx SpecContext) {
		greet(ctx, unique("joan"), unique("test"))
		Expect(get(ctx, os.Getenv("GREETER_METRICS_URL")+"/metrics")).To(MatchRegexp(`(?m)^greeter_greetings_total [1-9]`))
	}, SpecTimeout(time.Minute))
})

// unique is a name that no other test and no earlier run used: environments may be kept.
func unique(prefix string) string { return prefix + "-" + string(uuid.NewUUID()) }

func greet(ctx SpecContext, name, correlation string) map[string]any {
	GinkgoHelper()
	status, body := send(ctx, http.MethodPost, os.Getenv("GREETER_URL")+"/greetings", `{"name": "`+name+`"}`,
		http.Header{"X-Correlation-Id": {correlation}})
	Expect(status).To(Equal(http.StatusCreated), body)
	var answer map[string]any
	Expect(json.Unmarshal([]byte(body), &answer)).To(Succeed())
	return answer
}

// events are the audit events of a correlation id, as Data Storage has them.
func events(g Gomega, ctx SpecContext, correlation string) []map[string]any {
	GinkgoHelper()
	token, err := os.ReadFile(os.Getenv("DATASTORAGE_TOKEN_FILE"))
	g.Expect(err).NotTo(HaveOccurred())
	status, body := send(ctx, http.MethodGet,
		os.Getenv("DATASTORAGE_URL")+"/api/v1/audit/events?correlation_id="+url.QueryEscape(correlation), "",
		http.Header{"Authorization": {"Bearer " + strings.TrimSpace(string(token))}})
	g.Expect(status).To(Equal(http.StatusOK), body)
	var page struct {
		Data []map[string]any `json:"data"`
	}
	g.Expect(json.Unmarshal([]byte(body), &page)).To(Succeed())
	return page.Data
}

func get(ctx SpecContext, address string) string {
	GinkgoHelper()
	status, body := send(ctx, http.MethodGet, address, "", nil)
	Expect(status).To(Equal(http.StatusOK), body)
	return body
}

func send(ctx SpecContext, method, address, body string, header http.Header) (int, string) {
	GinkgoHelper()
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	Expect(err).NotTo(HaveOccurred())
	if header != nil {
		request.Header = header
	}
	response, err := http.DefaultClient.Do(request)
	Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	Expect(err).NotTo(HaveOccurred())
	return response.StatusCode, string(text)
}
