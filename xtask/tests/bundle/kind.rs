//! The bundle on a Kind cluster.

use crate::installed::{Installed, Team, output};

#[test]
fn the_example_of_a_team_runs_on_a_cluster_from_a_copy_elsewhere() {
    let installed = Installed::new();
    let team = Team::copied();
    let mut command = installed.command(&["e2e", "greeter", "--target", "kind"]);
    let (code, _, said) = output(team.enter(&mut command));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("used as given in the bundle"), "{said}");
    installed.assert_nothing_was_compiled();
}
