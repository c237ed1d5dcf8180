package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// audit writes events to Data Storage, each before its greeting is answered. A service that must not wait, or must not lose one,
// points DATASTORAGE_URL at the audit relay instead.
type audit struct {
	url, tokenFile string
}

func (a *audit) greeted(ctx context.Context, correlation, name string, count int64) error {
	// The short form: the server adds version, type and time.
	body, err := json.Marshal(map[string]any{
		"event_category": "notification",
		"event_action":   "greeting.sent",
		"event_outcome":  "success",
		"actor_id":       "greeter",
		"resource_type":  "greeting",
		"resource_id":    name,
		"correlation_id": correlation,
		"event_data":     map[string]any{"count": count},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/api/v1/audit/events", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	if a.tokenFile != "" {
		// Read each time: Kubernetes replaces the file when the Secret changes.
		token, err := os.ReadFile(a.tokenFile)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	// 201: committed. 202: queued by Data Storage while its database is away.
	if response.StatusCode != http.StatusCreated && response.StatusCode != http.StatusAccepted {
		why, _ := io.ReadAll(io.LimitReader(response.Body, 1024))
		return fmt.Errorf("Data Storage answered %s: %s", response.Status, why)
	}
	return nil
}
