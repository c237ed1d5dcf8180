package main

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"k8s.io/apimachinery/pkg/util/uuid"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// greetings is the hash in Valkey that holds how often each name was greeted.
const greetings = "greetings"

var greeted = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "greeter_greetings_total",
	Help: "Greetings that were counted and audited.",
})

func init() { metrics.Registry.MustRegister(greeted) }

type api struct {
	valkey *redis.Client
	audit  *audit
}

func newAPI(valkey *redis.Client, audit *audit) http.Handler {
	api := &api{valkey, audit}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /greetings", api.greet)
	mux.HandleFunc("GET /greetings", api.list)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", api.ready)
	return mux
}

// greet counts one greeting. The caller's X-Correlation-ID, or a new one, is that of the audit event.
func (a *api) greet(w http.ResponseWriter, r *http.Request) {
	var greeting struct {
		Name string `json:"name"`
	}
	if err := json.NewDecoder(r.Body).Decode(&greeting); err != nil || greeting.Name == "" {
		http.Error(w, `send {"name": "…"}`, http.StatusBadRequest)
		return
	}
	correlation := r.Header.Get("X-Correlation-ID")
	if correlation == "" {
		correlation = string(uuid.NewUUID())
	}
	count, err := a.valkey.HIncrBy(r.Context(), greetings, greeting.Name, 1).Result()
	if err != nil {
		unavailable(w, "cannot count in Valkey", err)
		return
	}
	if err := a.audit.greeted(r.Context(), correlation, greeting.Name, count); err != nil {
		unavailable(w, "counted, but not audited", err)
		return
	}
	greeted.Inc()
	answer(w, http.StatusCreated, map[string]any{
		"message": message(greeting.Name), "count": count, "correlation_id": correlation,
	})
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	counts, err := a.valkey.HGetAll(r.Context(), greetings).Result()
	if err != nil {
		unavailable(w, "cannot read from Valkey", err)
		return
	}
	answer(w, http.StatusOK, counts)
}

func (a *api) ready(w http.ResponseWriter, r *http.Request) {
	if err := a.valkey.Ping(r.Context()).Err(); err != nil {
		unavailable(w, "Valkey does not answer", err)
	}
}

func message(name string) string { return "Hello, " + name + "!" }

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func unavailable(w http.ResponseWriter, what string, err error) {
	slog.Error(what, "error", err)
	http.Error(w, what, http.StatusServiceUnavailable)
}
