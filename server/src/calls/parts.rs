//! What the gateway's configuration is put together from: the file, what the catalog makes, and what
//! services bring. The file wins over the catalog, and both win over services.

use posthouse_catalog::state::Mark;
use posthouse_gateway::config::Config as Gateway;

use super::granted::{Admitted, Proposals, Refused, admit};
use crate::config::Config;
use crate::config::grant::Grant;
use crate::guard::made::{self, Context, Made};

/// See the file's head.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    grants: Vec<Grant>,
    /// The gateway's configuration as the file has it; absent where nothing but the file can change
    /// it.
    file: Option<Gateway>,
    context: Context,
    made: Made,
    /// Of the catalog from which it was made.
    mark: Mark,
    proposals: Proposals,
    admitted: Admitted,
}

impl Parts {
    /// What a file says, and what the catalog makes then.
    pub(crate) fn new(
        config: &Config,
        catalog: &posthouse_catalog::routes::Made,
        mark: Mark,
    ) -> Self {
        let can_change = config.admin.is_some() || !config.grants.is_empty();
        let mut parts = Self {
            grants: config.grants.clone(),
            file: config.gateway.clone().filter(|_| can_change),
            context: config.context.clone(),
            mark,
            ..Self::default()
        };
        let made = made::checked(catalog, &parts.context);
        parts.made = match &config.gateway {
            Some(file) => made.without_those_of(file, catalog),
            None => made,
        };
        parts
    }

    /// What of the catalog cannot be taken.
    pub(crate) fn problems(&self) -> &[made::Problem] {
        &self.made.problems
    }

    /// What of the catalog could not be taken if it made this.
    pub(crate) fn problems_with(
        &self,
        catalog: &posthouse_catalog::routes::Made,
    ) -> Vec<made::Problem> {
        self.look(catalog).problems
    }

    fn look(&self, catalog: &posthouse_catalog::routes::Made) -> Made {
        let made = made::checked(catalog, &self.context);
        match &self.file {
            Some(file) => made.without_those_of(file, catalog),
            None => made,
        }
    }

    /// Up to which mark of the catalog it goes.
    pub(crate) const fn mark(&self) -> Mark {
        self.mark
    }

    /// Takes over what the catalog makes since.
    pub(crate) fn take_catalog(&mut self, catalog: &posthouse_catalog::routes::Made, mark: Mark) {
        self.made = self.look(catalog);
        self.mark = mark;
        self.say_problems();
    }

    /// Says what of the catalog is not taken.
    pub(crate) fn say_problems(&self) {
        for made::Problem { key, place, message } in &self.made.problems {
            tracing::error!("the {key} is not in force as it is: {place}: {message}");
        }
    }

    /// Takes over what services bring now.
    pub(crate) fn take_proposals(&mut self, proposals: Proposals) {
        self.proposals = proposals;
    }

    /// Goes on with what services brought before.
    pub(crate) fn with_services_of(mut self, before: &Self) -> Self {
        self.proposals = before.proposals.clone();
        self.admitted.refused = before.admitted.refused.clone();
        self
    }

    /// All of it together, from the file as it is kept.
    pub(crate) fn together(&mut self) -> Option<Gateway> {
        let file = self.file.clone()?;
        Some(self.with(file))
    }

    /// All of it together, from the file. Says in the log what services bring and is refused, that was
    /// not before.
    pub(crate) fn with(&mut self, mut file: Gateway) -> Gateway {
        self.made.add_to(&mut file);
        let admitted = if self.grants.is_empty() {
            Admitted::nothing(&self.proposals)
        } else {
            admit(&self.proposals, &self.grants, &file)
        };
        for refused in &admitted.refused {
            if !self.admitted.refused.contains(refused) {
                let Refused { source, reason } = refused;
                tracing::warn!(
                    service = source.service,
                    route = source.name,
                    "a route that a service brings is refused: {reason}"
                );
            }
        }
        admitted.add_to(&mut file);
        self.admitted = admitted;
        file
    }

    /// The routes that services bring and that are not taken.
    pub(crate) fn refused_routes(&self) -> Vec<Refused> {
        self.admitted.refused.clone()
    }
}
