//! The one writer of the terminal: plain lines with a heartbeat, a live view of what runs, or events as JSON.
//!
//! Whoever has something to show hands it over whole; the live view is taken away for it and drawn again below.

mod screen;

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use e2e_report::event::full_name;
use e2e_report::text::plain;
use e2e_report::{Event, Outcome};

use e2e_runner::settings::{self, named};
use screen::{Running, cut, heartbeat, live_lines, size};
pub use screen::{on_one_screen, row};

/// How often the live view is drawn: elapsed times count tenths, and no eye follows more.
const FRAME: Duration = Duration::from_millis(200);
/// How long a plain log may say nothing while something runs: CI systems end jobs that seem dead.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Progress {
    /// `tty` on a terminal, else `plain`
    // An empty variable is as one that is not set.
    #[default]
    #[value(alias = "")]
    Auto,
    /// What runs, with elapsed time and last line; what is done, one line each
    Tty,
    /// Every line as it comes, and every 10 s what runs
    Plain,
    /// Events as JSON, one per line
    Json,
}

static CHOSEN: OnceLock<Progress> = OnceLock::new();
static TERMINAL: Mutex<Terminal> = Mutex::new(Terminal::new());

/// Decides how progress is shown, before anything is.
pub fn choose(progress: Progress) {
    // A test harness or a CI system has a terminal at times, and nobody before it.
    let watched = || std::io::stderr().is_terminal() && settings::is_watched();
    let chosen = match progress {
        Progress::Auto if watched() => Progress::Tty,
        Progress::Auto => Progress::Plain,
        other => other,
    };
    CHOSEN.get_or_init(|| chosen);
    let mut terminal = lock();
    terminal.view = chosen;
    terminal.colour = chosen == Progress::Tty && settings::wants_colour();
}

/// Shows an event; `json` is its line in the log.
pub fn event(event: &Event, json: &str) {
    let mut terminal = lock();
    match terminal.view {
        Progress::Json => terminal.write(&format!("{json}\n")),
        Progress::Tty => terminal.live(event),
        _ => terminal.plain(event),
    }
    let beats = match event {
        Event::StageStarted { .. } if terminal.view != Progress::Json => {
            !std::mem::replace(&mut terminal.beats, true)
        }
        _ => false,
    };
    drop(terminal);
    if beats {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(FRAME);
                lock().tick(Instant::now());
            }
        });
    }
}

/// Writes one line to standard error, whole.
pub fn message(text: &str) {
    let mut terminal = lock();
    if terminal.view == Progress::Json {
        let line = serde_json::json!({"event": "message", "text": named(text)});
        terminal.write(&format!("{line}\n"));
    } else {
        terminal.above(&named(text));
    }
}

/// Writes data to standard output.
pub fn print(text: &str) {
    let mut terminal = lock();
    terminal.erase();
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush());
    // That must not end a run that still has to clean up.
    if let Err(error) = written {
        terminal.unwritten.get_or_insert(error);
    }
    terminal.draw(Instant::now());
}

/// Why data did not reach standard output, if it did not. A reader that has gone, as `head` does, has what it wanted.
pub fn unwritten() -> Option<std::io::Error> {
    let error = lock().unwritten.take()?;
    (error.kind() != std::io::ErrorKind::BrokenPipe).then_some(error)
}

fn lock() -> MutexGuard<'static, Terminal> {
    TERMINAL.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Terminal {
    view: Progress,
    colour: bool,
    running: Vec<Running>,
    /// Lines of the live view that are on the screen.
    drawn: usize,
    /// When something was shown last.
    spoke: Option<Instant>,
    /// Whether the thread that ticks has been started.
    beats: bool,
    /// Why data did not reach standard output.
    unwritten: Option<std::io::Error>,
}

impl Terminal {
    const fn new() -> Self {
        Self {
            view: Progress::Plain,
            colour: false,
            running: Vec::new(),
            drawn: 0,
            spoke: None,
            beats: false,
            unwritten: None,
        }
    }

    fn write(&mut self, text: &str) {
        self.spoke = Some(Instant::now());
        // Nobody may be reading, as in `print`.
        let mut stderr = std::io::stderr().lock();
        drop(
            stderr
                .write_all(text.as_bytes())
                .and_then(|()| stderr.flush()),
        );
    }

    /// A line that stays, above the live view.
    fn above(&mut self, text: &str) {
        let text = format!("{}{text}\n{}", self.cleared(), self.block(Instant::now()));
        self.write(&text);
    }

    fn erase(&mut self) {
        let cleared = self.cleared();
        if !cleared.is_empty() {
            self.write(&cleared);
        }
    }

    fn draw(&mut self, now: Instant) {
        let text = format!("{}{}", self.cleared(), self.block(now));
        if !text.is_empty() {
            self.write(&text);
        }
    }

    /// What takes the live view away (ECMA-48: cursor up, erase to the end of the screen).
    fn cleared(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\u{1b}[{lines}A\u{1b}[J"),
        }
    }

    /// The live view; remembers how many lines it has.
    fn block(&mut self, now: Instant) -> String {
        if self.view != Progress::Tty {
            return String::new();
        }
        let (width, height) = size();
        let lines = live_lines(&self.running, now, width, height);
        self.drawn = lines.len();
        lines.iter().fold(String::new(), |mut text, line| {
            writeln!(text, "{}", self.dim(line)).unwrap_or_default();
            text
        })
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn start(&mut self, name: String) {
        self.running.push(Running {
            name,
            since: Instant::now(),
            lines: Vec::new(),
        });
    }

    fn end(&mut self, name: &str) -> Option<Running> {
        let at = self.running.iter().position(|stage| stage.name == name)?;
        Some(self.running.remove(at))
    }

    fn live(&mut self, event: &Event) {
        match event {
            Event::StageStarted { stage, service } => {
                self.start(full_name(service.as_deref(), stage));
                self.draw(Instant::now());
            }
            Event::Line {
                stage,
                service,
                text,
            } => {
                let name = full_name(service.as_deref(), stage);
                if let Some(stage) = self.running.iter_mut().find(|stage| stage.name == name) {
                    stage.line(text);
                }
            }
            Event::StageEnded {
                stage,
                service,
                outcome,
                seconds,
                note,
            } => {
                let name = full_name(service.as_deref(), stage);
                let ended = self.end(&name);
                let mut text = self.ended(&name, *outcome, *seconds, note);
                if let Some(ended) = ended.filter(|_| *outcome == Outcome::Failed) {
                    for line in &ended.lines {
                        write!(text, "\n      {}", self.dim(line)).unwrap_or_default();
                    }
                }
                self.above(&text);
            }
            Event::Test {
                service,
                suite,
                name,
                outcome,
                ..
            } if *outcome != Outcome::Ok => {
                let mark = self.paint("31", "✗");
                let service = (!name.starts_with(service.as_str())).then_some(service.as_str());
                let name = full_name(service, &full_name(suite.as_deref(), name));
                self.above(&format!("    {mark} {name} {}", outcome.word()));
            }
            other => {
                if let Some(text) = line_of(other) {
                    self.above(&text);
                }
            }
        }
    }

    /// A stage that is over, in one line: sign and word say how, colour only repeats it.
    fn ended(&self, name: &str, outcome: Outcome, seconds: f64, note: &str) -> String {
        let (sign, code) = match outcome {
            Outcome::Ok => ("✓", "32"),
            Outcome::Failed => ("✗", "31"),
            Outcome::Stopped => ("✗", "33"),
        };
        let mut line = format!("  {sign} {name} {} ({seconds:.1} s)", outcome.word());
        if !note.is_empty() {
            write!(line, " · {note}").unwrap_or_default();
        }
        // The live view keeps a stage on one line; what failed is told whole.
        if self.view == Progress::Tty && outcome != Outcome::Failed {
            line = cut(&line, size().0.saturating_sub(1));
        }
        line.replacen(sign, &self.paint(code, sign), 1)
    }

    fn plain(&mut self, event: &Event) {
        match event {
            Event::StageStarted { stage, service } => {
                self.start(full_name(service.as_deref(), stage));
            }
            Event::StageEnded { stage, service, .. } => {
                drop(self.end(&full_name(service.as_deref(), stage)));
            }
            _ => {}
        }
        let text = match event {
            Event::StageEnded {
                stage,
                service,
                outcome,
                seconds,
                note,
            } => Some(self.ended(
                &full_name(service.as_deref(), stage),
                *outcome,
                *seconds,
                note,
            )),
            other => line_of(other),
        };
        if let Some(text) = text {
            self.above(&text);
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.running.is_empty() {
            return;
        }
        match self.view {
            Progress::Tty => self.draw(now),
            Progress::Plain
                if self
                    .spoke
                    .is_none_or(|spoke| now.duration_since(spoke) >= HEARTBEAT) =>
            {
                let text = format!("{}\n", heartbeat(&self.running, now));
                self.write(&text);
            }
            _ => {}
        }
    }
}

/// An event that is one line in every view for people.
fn line_of(event: &Event) -> Option<String> {
    Some(match event {
        Event::Run { run, target, why } => format!("run {run} on {target}: {why}"),
        Event::StageStarted { stage, service } => {
            format!("  … {}", full_name(service.as_deref(), stage))
        }
        Event::Line { text, service, .. } => {
            format!("    {}", full_name(service.as_deref(), &plain(text)))
        }
        Event::Note { text } => format!("  · {text}"),
        // The rest is told by other lines: the suite's own, the error that ends the run.
        _ => return None,
    })
}
