// Greeter counts greetings in Valkey and writes an audit event for each. In a cluster it also answers objects of the kind Greeting,
// and refuses those that name nobody.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

func main() {
	listen := flag.String("listen", ":8080", "address of the API")
	listenMetrics := flag.String("metrics", ":9090", "address of the metrics")
	certificates := flag.String("certificates", "/etc/webhook-tls", "directory of the webhook's tls.crt and tls.key")
	flag.Parse()

	ctrl.SetLogger(logr.FromSlogHandler(slog.Default().Handler()))
	// Ends at SIGTERM; main then returns, which is when Go writes the coverage of a binary that was built with -cover.
	if err := run(ctrl.SetupSignalHandler(), *listen, *listenMetrics, *certificates); err != nil {
		slog.Error("greeter ends", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, listenMetrics, certificates string) error {
	options, err := redis.ParseURL(os.Getenv("VALKEY_URL"))
	if err != nil {
		return err
	}
	options.Password = os.Getenv("VALKEY_PASSWORD")
	valkey := redis.NewClient(options)
	defer valkey.Close()

	audit := &audit{url: os.Getenv("DATASTORAGE_URL"), tokenFile: os.Getenv("DATASTORAGE_TOKEN_FILE")}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(ctx, listen, newAPI(valkey, audit)) })
	group.Go(func() error {
		return serve(ctx, listenMetrics, promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{}))
	})
	if _, inCluster := os.LookupEnv("KUBERNETES_SERVICE_HOST"); inCluster {
		group.Go(func() error { return control(ctx, os.Getenv("NAMESPACE"), certificates, audit) })
	} else {
		slog.Info("there is no cluster here: the API alone is served")
	}
	return group.Wait()
}

// serve answers requests until the context ends, and then those that are under way.
func serve(ctx context.Context, address string, handler http.Handler) error {
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(grace), ignoreClosed(<-ended))
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
