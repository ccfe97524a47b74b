//! The users over gRPC: `shop.v1.UserService`.

use std::collections::VecDeque;
use std::pin::Pin;

use axum::Router;
use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use super::Users;
use crate::answer::Failure;

/// Generated from `proto/shop/v1/users.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::wildcard_imports,
    clippy::too_many_lines,
    reason = "generated code"
)]
mod proto {
    tonic::include_proto!("shop.v1");
}

use proto::user_service_server::{UserService, UserServiceServer};

/// How many users are read from the database at a time.
const BATCH: u16 = 100;

pub(super) fn router(users: Users) -> Router {
    let service = UserServiceServer::new(Calls { users });
    Router::new().route_service("/shop.v1.UserService/{*method}", service)
}

struct Calls {
    users: Users,
}

type UserStream = Pin<Box<dyn Stream<Item = Result<proto::User, Status>> + Send>>;

#[tonic::async_trait]
impl UserService for Calls {
    type ListUsersStream = UserStream;

    async fn get_user(
        &self,
        request: Request<proto::GetUserRequest>,
    ) -> Result<Response<proto::User>, Status> {
        let user = self.users.get(request.into_inner().id).await.map_err(to_status)?;
        Ok(Response::new(to_wire(user)))
    }

    async fn list_users(
        &self,
        _request: Request<proto::ListUsersRequest>,
    ) -> Result<Response<Self::ListUsersStream>, Status> {
        let start = Listing { users: self.users.clone(), after: 0, batch: VecDeque::new() };
        Ok(Response::new(Box::pin(stream::try_unfold(start, Listing::next))))
    }
}

/// Where a listing stands: the rest of the last batch, and the id that the next one follows.
struct Listing {
    users: Users,
    after: i64,
    batch: VecDeque<super::User>,
}

impl Listing {
    async fn next(mut self) -> Result<Option<(proto::User, Self)>, Status> {
        if self.batch.is_empty() {
            let page = self.users.page(self.after, BATCH).await;
            self.batch = page.map_err(|error| to_status(error.into()))?.into();
        }
        let Some(user) = self.batch.pop_front() else { return Ok(None) };
        self.after = user.id;
        Ok(Some((to_wire(user), self)))
    }
}

fn to_wire(user: super::User) -> proto::User {
    proto::User { id: user.id, name: user.name, email: user.email }
}

fn to_status(failure: Failure) -> Status {
    match failure {
        Failure::NotFound { what, id } => Status::not_found(format!("there is no {what} {id}")),
        other => {
            tracing::error!("a call failed: {other:?}");
            Status::internal("the service could not do this; see its log")
        }
    }
}
