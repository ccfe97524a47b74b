//! Control: what the house runs by, and how that is changed while it runs.
//!
//! A new configuration is taken whole or refused whole; while it is looked at, and when it is
//! refused, the old one serves on. What cannot change without a new start is said, not ignored.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::{RecursiveMode, Watcher as _};
use posthouse_base::config::Severity;
use posthouse_base::time::Timestamp;
use posthouse_broker as broker;
use posthouse_catalog as catalog;
use posthouse_catalog::state::Mark;
use posthouse_journal::config as journal;
use posthouse_registry as registry;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::audit::{Audit, Entry};
use crate::backroom::{Backroom, Share};
use crate::calls::Calls;
use crate::calls::granted::{Proposals, Refused};
use crate::calls::parts::Parts;
use crate::cli::Part;
use crate::config::admin::AdminKey;
use crate::config::{Config, Findings, Source};
use crate::data::{Addresses, DataFolder};
use crate::guard::{Guard, made};
use crate::house::restrict;
use crate::inputs::Inputs;

/// How long a changed file must be left alone before it is read: editors write in several steps.
const SETTLING: Duration = Duration::from_millis(50);

/// How often the file is looked at besides: notices get lost, on network file systems above all.
const LOOKING: Duration = Duration::from_secs(3);

/// How long somebody who has changed the catalog waits for calls to see it.
const TAKING_OVER: Duration = Duration::from_secs(20);

/// Why a configuration was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Start,
    Signal,
    File,
    Api,
}

impl Cause {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Signal => "signal",
            Self::File => "file",
            Self::Api => "api",
        }
    }
}

/// How the last reading went.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) at: Timestamp,
    pub(crate) cause: Cause,
    /// Whether it is now in force.
    pub(crate) taken: bool,
    /// Whether it is the one that was in force before.
    pub(crate) unchanged: bool,
    pub(crate) findings: Findings,
    /// What went wrong apart from the findings.
    pub(crate) error: Option<String>,
    /// What will only be in force after the next start.
    pub(crate) waiting: Vec<String>,
}

/// What is in force, and how it came to be.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// Counted from 1, one more for each changed configuration that was taken.
    pub(crate) version: u64,
    pub(crate) since: Timestamp,
    pub(crate) last: Outcome,
    /// What was last read, taken or not, so that only changes cause a reload.
    seen: Inputs,
}

/// See the file's head.
pub(crate) struct Control {
    source: Source,
    only: Vec<Part>,
    data: DataFolder,
    data_path: PathBuf,
    calls: Option<Arc<Calls>>,
    /// Where configurations are read and put in force.
    backroom: Backroom,
    registry: Option<registry::Config>,
    names: Option<registry::Config>,
    messages: Option<broker::Config>,
    /// What is listened on from the start to the end.
    lasting: Addresses,
    journal: journal::Config,
    /// Threads of the gateway, as they were started.
    threads: Option<usize>,
    admin: Option<SocketAddr>,
    admin_address: Mutex<Option<SocketAddr>>,
    admin_keys: ArcSwap<Arc<[AdminKey]>>,
    audit: Audit,
    standing: Mutex<Standing>,
    /// One reload at a time.
    turn: tokio::sync::Mutex<()>,
    ending: AtomicBool,
    guard: Arc<Guard>,
    /// What the gateway runs by, in its parts.
    parts: Mutex<Parts>,
    /// Up to which mark the catalog is in force.
    catalog: watch::Sender<Mark>,
}

impl Control {
    pub(crate) fn new(
        config: &Config,
        source: Source,
        only: Vec<Part>,
        (data, audit, guard): (DataFolder, Audit, Arc<Guard>),
        (calls, parts): (Option<Arc<Calls>>, Parts),
        lasting: Addresses,
    ) -> Self {
        let now = Timestamp::now();
        let last = Outcome {
            at: now,
            cause: Cause::Start,
            taken: true,
            unchanged: false,
            findings: Findings::new(source.name()),
            error: None,
            waiting: Vec::new(),
        };
        let seen = Inputs::of_text(source.text().ok());
        let admin = config.admin.as_ref();
        let tidied = calls.clone();
        let backroom = Backroom::new(move || tidied.as_ref().map_or(0, |calls| calls.tidy()));
        Self {
            data,
            backroom,
            data_path: config.data.clone(),
            calls,
            registry: config.registry.clone(),
            names: config.names.clone(),
            messages: config.messages.clone(),
            lasting,
            journal: config.journal.clone(),
            threads: threads(config),
            admin: admin.map(|admin| admin.address),
            admin_address: Mutex::default(),
            admin_keys: ArcSwap::from_pointee(
                admin.map(|admin| Arc::clone(&admin.keys)).unwrap_or_default(),
            ),
            audit,
            standing: Mutex::new(Standing { version: 1, since: now, last, seen }),
            turn: tokio::sync::Mutex::default(),
            ending: AtomicBool::new(false),
            guard,
            catalog: watch::Sender::new(parts.mark()),
            parts: Mutex::new(parts),
            only,
            source,
        }
    }

    pub(crate) fn set_admin_address(&self, address: Option<SocketAddr>) {
        *self.admin_address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    pub(crate) fn calls(&self) -> Option<&Arc<Calls>> {
        self.calls.as_ref()
    }

    /// Who may ask the admin API now; without any, whoever reaches it.
    pub(crate) fn admin_keys(&self) -> Arc<[AdminKey]> {
        Arc::clone(&self.admin_keys.load())
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing_now().clone()
    }

    /// From here on the house says that it is not ready.
    pub(crate) fn begin_ending(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// The addresses really listened on.
    pub(crate) fn addresses(&self) -> Addresses {
        Addresses {
            listeners: self.calls.as_ref().map(|calls| calls.addresses()).unwrap_or_default(),
            admin: *self.admin_address.lock().unwrap_or_else(PoisonError::into_inner),
            ..self.lasting.clone()
        }
    }

    /// Writes the addresses into the data folder.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn tell_addresses(&self) -> anyhow::Result<()> {
        self.data.write_addresses(&self.addresses())
    }

    /// Takes the addresses back: nobody listens there any more.
    pub(crate) fn leave(&self) {
        self.data.remove_addresses();
    }

    /// Opens log files again, after they were moved away.
    pub(crate) fn reopen_files(&self) {
        if let Some(calls) = &self.calls {
            calls.reopen_access_log();
        }
    }

    /// Reads the configuration again and puts it in force if nothing is wrong with it.
    pub(crate) async fn reload(self: &Arc<Self>, cause: Cause) -> Outcome {
        let _turn = self.turn.lock().await;
        let this = Arc::clone(self);
        let share = Share::for_size(self.source.size());
        let mut outcome = match self.backroom.run(share, move || this.try_reload()).await {
            Ok(outcome) => outcome,
            Err(error) => self.refused(format!("{} cannot be read: {error}", self.source.name())),
        };
        outcome.at = Timestamp::now();
        outcome.cause = cause;
        let version = {
            let mut standing = self.standing_now();
            if outcome.taken && !outcome.unchanged {
                standing.version += 1;
                standing.since = outcome.at;
            }
            standing.last = outcome.clone();
            standing.version
        };
        report(&outcome, version);
        self.enter(&outcome, version).await;
        outcome
    }

    /// Enters in the audit log what was changed by the file. What the admin API was asked for, it
    /// enters itself.
    async fn enter(&self, outcome: &Outcome, version: u64) {
        if outcome.cause == Cause::Api || outcome.unchanged {
            return;
        }
        let said = match outcome.taken {
            true => format!("version {version} of the configuration is in force"),
            false => format!("refused; version {version} of the configuration stays in force"),
        };
        let entry = Entry {
            who: outcome.cause.name().into(),
            role: None,
            from: None,
            action: "reload".into(),
            status: None,
            outcome: Some(said),
        };
        self.audit.record(entry).await;
    }

    /// Does it, and takes as long as it takes.
    fn try_reload(&self) -> Outcome {
        let text = match self.source.text() {
            Ok(text) => text,
            Err(error) => {
                return self.refused(format!("{} cannot be read: {error}", self.source.name()));
            }
        };
        let (seen, last) = {
            let standing = self.standing_now();
            (standing.seen.clone(), standing.last.clone())
        };
        let now = seen.now(text);
        if last.taken && now.is_same(&seen) {
            if let Some(calls) = &self.calls {
                calls.confirm();
            }
            return Outcome { unchanged: true, ..last };
        }
        let checked = self.source.check(now.text.as_deref().unwrap_or_default());
        self.standing_now().seen = now.with_files(checked.files);
        let mut outcome = Outcome { findings: checked.findings, ..self.outcome() };
        let Some(mut config) = checked.config else { return outcome };
        if let Err(error) = restrict(&mut config, &self.only) {
            outcome.error = Some(format!("{error:#}"));
            return outcome;
        }
        outcome.waiting = self.not_before_restart(&config);
        match self.put_in_force(config) {
            Ok(()) => outcome.taken = true,
            Err(error) => outcome.error = Some(format!("{error:#}")),
        }
        outcome
    }

    /// An outcome about which nothing is known yet.
    fn outcome(&self) -> Outcome {
        Outcome {
            at: Timestamp::default(),
            cause: Cause::Start,
            taken: false,
            unchanged: false,
            findings: Findings::new(self.source.name()),
            error: None,
            waiting: Vec::new(),
        }
    }

    fn refused(&self, error: String) -> Outcome {
        Outcome { error: Some(error), ..self.outcome() }
    }

    fn put_in_force(&self, config: Config) -> anyhow::Result<()> {
        let catalog = &self.guard.catalog;
        let preview = catalog.preview_declared(config.catalog.clone())?;
        let mut parts = Parts::new(&config, &preview.made, preview.mark);
        if let Some(made::Problem { key, place, message }) = parts.problems().first() {
            anyhow::bail!("the {key} would not work any more: {place}: {message}");
        }
        self.guard.configure(&config)?;
        if !preview.plan.is_empty() {
            let declare = catalog.declare(config.catalog.clone());
            let declared = Handle::current().block_on(declare)?;
            parts = Parts::new(&config, catalog.standing().made(), declared.mark);
        }
        parts = parts.with_services_of(&self.parts());
        if let (Some(calls), Some(gateway)) = (&self.calls, config.gateway) {
            let before = self.addresses();
            calls.apply(parts.with(gateway))?;
            if self.addresses() != before {
                self.tell_addresses()?;
            }
        }
        self.catalog.send_replace(parts.mark());
        *self.parts() = parts;
        if let Some(admin) = config.admin {
            self.admin_keys.store(Arc::new(admin.keys));
        }
        Ok(())
    }

    /// Takes over the routes that services bring now, as far as the file grants them.
    pub(crate) async fn propose_routes(self: &Arc<Self>, proposals: Proposals) {
        self.change("the routes that services bring", move |parts| parts.take_proposals(proposals))
            .await;
    }

    /// Takes over what the catalog makes, whenever it changes, for as long as the house stands.
    pub(crate) async fn follow_catalog(self: Arc<Self>) {
        let mut marks = self.guard.catalog.follow();
        loop {
            let standing = self.guard.catalog.standing();
            let mark = *marks.borrow_and_update();
            if mark > *self.catalog.borrow() {
                let take = move |parts: &mut Parts| {
                    parts.take_catalog(standing.made(), standing.mark());
                };
                self.change("what the catalog makes", take).await;
                self.catalog.send_replace(mark);
            }
            if marks.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until calls see the catalog as it is at this mark.
    pub(crate) async fn catalog_at(&self, mark: Mark) {
        let mut reached = self.catalog.subscribe();
        let reached = reached.wait_for(|reached| *reached >= mark);
        if tokio::time::timeout(TAKING_OVER, reached).await.is_err() {
            tracing::warn!("a change of the catalog takes long to be in force");
        }
    }

    /// What of the catalog could not be taken if it made this, and could before.
    pub(crate) fn new_problems_with(&self, made: &catalog::routes::Made) -> Vec<made::Problem> {
        let parts = self.parts();
        let problems = parts.problems_with(made).into_iter();
        problems.filter(|problem| !parts.problems().contains(problem)).collect()
    }

    /// Changes one of the parts that the gateway runs by, and puts all of it in force.
    async fn change(
        self: &Arc<Self>,
        what: &str,
        change: impl FnOnce(&mut Parts) + Send + 'static,
    ) {
        let _turn = self.turn.lock().await;
        let this = Arc::clone(self);
        let share = Share::for_size(self.source.size());
        let put = move || {
            let gateway = {
                let mut parts = this.parts();
                change(&mut parts);
                parts.together()
            };
            match (&this.calls, gateway) {
                (Some(calls), Some(gateway)) => calls.apply(gateway),
                _ => Ok(()),
            }
        };
        let put = self.backroom.run(share, put).await;
        if let Err(error) = put.map_err(anyhow::Error::from).flatten() {
            tracing::error!("{what} is not in force: {error:#}");
        }
    }

    /// The routes that services bring and that are not taken.
    pub(crate) fn refused_routes(&self) -> Vec<Refused> {
        self.parts().refused_routes()
    }

    /// Who may pass, and by which version.
    pub(crate) fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `config` changes that this process cannot change any more.
    fn not_before_restart(&self, config: &Config) -> Vec<String> {
        let admin = config.admin.as_ref().map(|admin| admin.address);
        let changed = [
            ("data", config.data != self.data_path),
            ("admin.address", admin != self.admin),
            ("registry", (&config.registry, &config.names) != (&self.registry, &self.names)),
            ("messages", config.messages != self.messages),
            ("journal", config.journal != self.journal),
            ("listeners", config.gateway.is_some() != self.calls.is_some()),
            ("gateway.threads", self.threads.is_some() && threads(config) != self.threads),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key.into()).collect()
    }

    /// Reloads whenever the file changes, for as long as the house stands.
    pub(crate) async fn watch(self: Arc<Self>) {
        let Source::File(path) = &self.source else { return };
        let changed = Arc::<Notify>::default();
        // Kept, because it watches for as long as it lives.
        let _watcher = watch_folders(path, Arc::clone(&changed));
        loop {
            tokio::select! {
                () = changed.notified() => {
                    tokio::time::sleep(SETTLING).await;
                    // Other notices of the same change.
                    tokio::select! {
                        biased;
                        () = changed.notified() => {}
                        () = std::future::ready(()) => {}
                    }
                }
                () = tokio::time::sleep(LOOKING) => {}
            }
            let now = tokio::fs::read_to_string(path).await.ok();
            // A file that is gone for a moment is being replaced; it is looked at again.
            if now.is_some() && now != self.standing_now().seen.text {
                self.reload(Cause::File).await;
            }
        }
    }

    fn standing_now(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn threads(config: &Config) -> Option<usize> {
    config.gateway.as_ref().map(|gateway| gateway.engine.threads)
}

/// Watches the folders in which the file is replaced: its own and, for a symbolic link as
/// Kubernetes makes them, the one that it leads to. Folders, because a watch on a file that is
/// replaced goes on watching the old one.
fn watch_folders(path: &Path, changed: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let real = path.canonicalize().ok();
    let names: Vec<OsString> = [Some(path), real.as_deref()]
        .into_iter()
        .flatten()
        .filter_map(Path::file_name)
        .map(Into::into)
        .collect();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| concerns(&event, &names)) {
            changed.notify_one();
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!("changes are seen every {LOOKING:?} only: {error}");
            return None;
        }
    };
    let folder = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut folders = vec![folder(path)];
    folders.extend(real.map(|real| folder(&real)).filter(|real| *real != folders[0]));
    for folder in folders {
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            tracing::warn!("changes in {} are seen late: {error}", folder.display());
        }
    }
    Some(watcher)
}

/// Whether an event is about one of these files, or about the links to whole folders (`..data`) by
/// which Kubernetes replaces them. Reading is none, or each look would cause the next.
fn concerns(event: &notify::Event, names: &[OsString]) -> bool {
    let is_meant = |name: &OsStr| {
        names.iter().any(|meant| meant == name) || name.as_encoded_bytes().starts_with(b"..")
    };
    !event.kind.is_access() && event.paths.iter().filter_map(|path| path.file_name()).any(is_meant)
}

/// Says in the log how a reload went.
fn report(outcome: &Outcome, version: u64) {
    let Outcome { cause, taken, unchanged, findings, error, waiting, .. } = outcome;
    let cause = cause.name();
    if *unchanged {
        tracing::info!(version, cause, "the configuration is as it was and stays in force");
        return;
    }
    for finding in &findings.findings {
        match finding.severity {
            Severity::Error => tracing::error!("{}:{finding}", findings.file),
            Severity::Warning => tracing::warn!("{}:{finding}", findings.file),
        }
    }
    if *taken {
        tracing::info!(version, cause, "the configuration is in force");
    } else {
        let error = error.as_deref().unwrap_or("it has mistakes");
        tracing::error!(
            version,
            cause,
            "the new configuration is refused, the old one serves on: {error}"
        );
    }
    for section in waiting {
        tracing::warn!("a change to `{section}` takes effect at the next start");
    }
}
