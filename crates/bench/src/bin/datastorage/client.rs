//! A client that speaks as much HTTP as the load needs, over one keep-alive connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

/// Events of one correlation id in the table that is read.
pub(crate) const EVENTS_PER_CORRELATION: u64 = 20;

/// What a workflow's event says: about 450 bytes.
pub(crate) const EVENT_DATA: &str = r#"{"workflow_id":"increase-memory-conservative","workflow_version":"1.4.2","target_resource":"production/Deployment/payment-service","phase":"Running","container_image":"registry.example/workflows/increase-memory@sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945","execution_name":"wfe-payment-service-8f3a1c","started_at":"2025-12-18T10:00:00Z","pipelinerun_name":"wfe-payment-service-8f3a1c-run","parameters":{"MEMORY_LIMIT":"2Gi","REPLICAS":"3"}}"#;

/// One keep-alive connection that speaks as much HTTP as the load needs.
pub(crate) struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            answer: Vec::with_capacity(64 << 10),
        })
    }

    pub(crate) async fn write_until(
        mut self,
        stop: Arc<AtomicBool>,
        events: Arc<AtomicU64>,
        number: usize,
        size: usize,
        ids: bool,
    ) -> anyhow::Result<Histogram<u64>> {
        let mut latency = Histogram::new(3)?;
        let mut round = 0_u64;
        let mut next = request(number, round, size, ids);
        while !stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            let status = self.exchange(&next).await?;
            latency.record(u64::try_from(started.elapsed().as_micros())?)?;
            ensure!(
                status == 201,
                "a write was answered with {status}: {}",
                String::from_utf8_lossy(&self.answer)
            );
            events.fetch_add(size as u64, Ordering::Relaxed);
            round += 1;
            // Without ids a request may be sent as it was; a new one now and then spreads the correlation ids.
            if ids || round.is_multiple_of(EVENTS_PER_CORRELATION) {
                next = request(number, round, size, ids);
            }
        }
        Ok(latency)
    }

    /// Sends a request and reads its answer, whose body stays in `answer`.
    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        let head = loop {
            if let Some(end) = self
                .answer
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n")
            {
                break end + 4;
            }
            ensure!(
                self.stream.read_buf(&mut self.answer).await? > 0,
                "the server closed the connection"
            );
        };
        let text = std::str::from_utf8(&self.answer[..head])?.to_ascii_lowercase();
        let status = text.get(9..12).context("a status line")?.parse()?;
        let length = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .context("a content-length")?;
        let whole = head + length.trim().parse::<usize>()?;
        while self.answer.len() < whole {
            ensure!(
                self.stream.read_buf(&mut self.answer).await? > 0,
                "the server closed the connection"
            );
        }
        self.answer.drain(..head);
        Ok(status)
    }
}

impl Client {
    pub(crate) async fn get(&mut self, query: &str) -> anyhow::Result<serde_json::Value> {
        let request = format!("GET /api/v1/audit/events?{query} HTTP/1.1\r\nHost: bench\r\n\r\n");
        let status = self.exchange(request.as_bytes()).await?;
        ensure!(
            status == 200,
            "a read was answered with {status}: {}",
            String::from_utf8_lossy(&self.answer)
        );
        Ok(serde_json::from_slice(&self.answer)?)
    }
}

/// The bytes of a POST to /batch, or for one event to /events.
fn request(number: usize, round: u64, size: usize, ids: bool) -> Vec<u8> {
    let (path, body) = post(number, round, size, ids);
    format!("POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The path and the body of a POST of so many events.
pub(crate) fn post(number: usize, round: u64, size: usize, ids: bool) -> (&'static str, String) {
    let event = || {
        let id = if ids {
            format!("\"event_id\":\"{}\",", Uuid::now_v7())
        } else {
            String::new()
        };
        let correlation = format!("load-{number}-{}", round / EVENTS_PER_CORRELATION);
        format!(
            r#"{{{id}"version":"1.0","event_type":"workflow.started","event_timestamp":"{}","event_category":"workflow","event_action":"started","event_outcome":"success","actor_type":"service","actor_id":"workflowexecution-controller","resource_type":"WorkflowExecution","resource_id":"wfe-{number}-{round}","correlation_id":"{correlation}","namespace":"kubernaut-system","event_data":{EVENT_DATA}}}"#,
            Timestamp::now()
        )
    };
    match size {
        1 => ("/api/v1/audit/events", event()),
        _ => (
            "/api/v1/audit/events/batch",
            format!(
                "[{}]",
                (0..size).map(|_| event()).collect::<Vec<_>>().join(",")
            ),
        ),
    }
}
