//! The critical path: the stages of which each began when the one before it ended, back from the last.

use crate::log::Log;

/// Stages by their place in the log, first to last, and the seconds between them in which nothing on the path ran.
#[derive(Debug, Default, PartialEq)]
pub struct Path {
    /// Indices into the log's stages.
    pub stages: Vec<usize>,
    /// The gap before each of them, in seconds.
    pub gaps: Vec<f64>,
}

impl Path {
    /// Finds the path of a run.
    pub fn of(log: &Log) -> Self {
        let end = |at: usize| log.stages[at].ended.unwrap_or(log.seconds);
        let mut path = Self::default();
        let mut at = (0..log.stages.len()).max_by(|a, b| end(*a).total_cmp(&end(*b)));
        while let Some(now) = at {
            let began = log.stages[now].began;
            let latest = |needed: &dyn Fn(usize) -> bool| {
                (0..log.stages.len())
                    .filter(|before| {
                        // A stage of no duration may not follow itself.
                        *before != now
                            && !path.stages.contains(before)
                            && end(*before) <= began + 0.05
                            && needed(*before)
                    })
                    .max_by(|a, b| end(*a).total_cmp(&end(*b)))
            };
            let needs = &log.stages[now].needs;
            // What a plan does not tell, such as what tear-down waited for, is what ended last before it.
            let before = latest(&|stage| needs.contains(&log.stages[stage].name))
                .or_else(|| latest(&|_| true));
            path.stages.push(now);
            path.gaps.push((began - before.map_or(0.0, end)).max(0.0));
            at = before;
        }
        path.stages.reverse();
        path.gaps.reverse();
        path
    }

    /// The gap before a stage on the path.
    pub fn gap(&self, stage: usize) -> Option<f64> {
        let at = self.stages.iter().position(|on_path| *on_path == stage)?;
        self.gaps.get(at).copied()
    }

    /// Seconds on the path in which nothing ran.
    pub fn idle(&self) -> f64 {
        self.gaps.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::Stage;
    use super::*;

    fn stage(name: &str, began: f64, ended: f64, needs: &[&str]) -> Stage {
        Stage {
            name: name.to_owned(),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            began,
            ended: Some(ended),
            ..Stage::default()
        }
    }

    #[test]
    fn the_path_goes_by_what_each_stage_waited_for_and_counts_the_gaps() {
        let log = Log {
            stages: vec![
                stage("a", 0.0, 1.0, &[]),
                stage("quick", 1.0, 2.0, &["a"]),
                stage("slow", 1.0, 5.0, &["a"]),
                stage("join", 5.5, 6.0, &["quick", "slow"]),
                stage("end", 6.0, 7.0, &["never ran"]),
            ],
            seconds: 7.0,
            ..Log::default()
        };
        let path = Path::of(&log);
        assert_eq!(path.stages, [0, 2, 3, 4]);
        assert!((path.idle() - 0.5).abs() < 1e-9);
        assert_eq!(path.gap(1), None);
    }

    #[test]
    fn a_run_without_stages_has_no_path() {
        assert_eq!(Path::of(&Log::default()), Path::default());
    }
}
