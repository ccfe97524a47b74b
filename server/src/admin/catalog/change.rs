//! How the catalog is changed: looked at first, with all that the gateway would have to do, then
//! changed, then waited for until calls see it.

use axum::Json;
use axum::response::{IntoResponse, Response};
use posthouse_base::config::{Report, Severity};
use posthouse_base::problem::Problem;
use posthouse_catalog as catalog;
use posthouse_catalog::{Apply, Change};

use super::How;
use super::wire::Changes;
use crate::admin::access::{Caller, Outcome};
use crate::admin::{Refusal, State};
use crate::guard::made;

/// How often a change is decided anew when somebody else was quicker.
const TRIES: usize = 5;

/// Makes changes, all or none, and tells what they came to.
pub(in crate::admin) async fn change(
    state: &State,
    caller: &Caller,
    changes: Vec<Change>,
    how: &How,
) -> Result<Response, Refusal> {
    let changed = carry_out(state, caller, changes, (&how.note, how.dry_run)).await?;
    let mut outcome = changed.in_a_line();
    if how.dry_run {
        outcome = format!("only asked: {outcome}");
    }
    let mut response = Json(changed).into_response();
    response.extensions_mut().insert(Outcome(outcome));
    Ok(response)
}

/// Makes changes, all or none.
pub(in crate::admin) async fn carry_out(
    state: &State,
    caller: &Caller,
    changes: Vec<Change>,
    (note, dry_run): (&str, bool),
) -> Result<Changes, Refusal> {
    let (who, note) = (caller.name.clone(), note.into());
    let mut apply = Apply { who, note, changes, expected: None };
    for _ in 0..TRIES {
        let (control, catalog) = (state.control.clone(), state.catalog().clone());
        let asked = apply.clone();
        // Descriptions are read and routes checked in it.
        let preview = tokio::task::spawn_blocking(move || {
            let preview = catalog.preview(asked)?;
            let problems = control.new_problems_with(&preview.made);
            Ok::<_, catalog::Refusal>((preview, problems))
        });
        let preview =
            preview.await.map_err(|error| Refusal(crate::admin::api::internal(&error)))?;
        let (preview, problems) = preview.map_err(|refusal| refused(&refusal))?;
        if let Some(problem) = problems.first() {
            return Err(unusable(problem));
        }
        let changes = Changes::of(preview.plan, dry_run);
        if dry_run || changes.changes.is_empty() {
            return Ok(changes);
        }
        apply.expected = Some(preview.mark);
        match state.catalog().apply(apply.clone()).await {
            Ok(applied) => {
                state.control.catalog_at(applied.mark).await;
                return Ok(changes);
            }
            Err(catalog::Error::Refused(catalog::Refusal::Behind)) => apply.expected = None,
            Err(error) => return Err(failed(&error)),
        }
    }
    Err(refused(&catalog::Refusal::Behind))
}

/// The first mistake of what was sent, if there is any.
pub(in crate::admin) fn first_error(report: &Report) -> Result<(), Refusal> {
    let mut errors = report.findings().iter();
    let Some(first) = errors.find(|finding| finding.severity == Severity::Error) else {
        return Ok(());
    };
    let help = first.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    let detail = format!("{}{help}", first.message);
    let problem = Problem::new(422, "Unprocessable Content").detail(detail);
    Err(Refusal(problem.field(first.path.as_str())))
}

fn unusable(problem: &made::Problem) -> Refusal {
    let made::Problem { key, place, message } = problem;
    let detail = format!("the {key} cannot be used like this: {message}");
    Refusal(Problem::new(422, "Unprocessable Content").detail(detail).field(place.as_str()))
}

/// Why the catalog refuses something, as a problem.
pub(in crate::admin) fn refused(refusal: &catalog::Refusal) -> Refusal {
    use catalog::Refusal as Why;
    let (status, title, field) = match refusal {
        Why::Unknown(_) | Why::UnknownRevision(..) => (404, "Not Found", None),
        Why::Unsound { field, .. } => (422, "Unprocessable Content", Some(*field)),
        Why::Full { .. } => (422, "Unprocessable Content", None),
        _ => (409, "Conflict", None),
    };
    let mut problem = Problem::new(status, title).detail(refusal.to_string());
    problem.field = field.filter(|field| !field.is_empty()).map(Into::into);
    Refusal(problem)
}

fn failed(error: &catalog::Error) -> Refusal {
    let (status, title) = match error {
        catalog::Error::Refused(refusal) => return refused(refusal),
        catalog::Error::TooLarge { .. } => (413, "Content Too Large"),
        _ => (503, "Service Unavailable"),
    };
    Refusal(Problem::new(status, title).detail(error.to_string()))
}
