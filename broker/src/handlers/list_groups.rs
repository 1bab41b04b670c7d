//! ListGroups (key 16): the groups that this broker coordinates.
//!
//! Kafka's rules we keep: whoever may DESCRIBE the cluster sees every group, others those that they may DESCRIBE;
//! filters by state and by type, in any case, an empty filter passing all. Where we differ: nowhere.

use std::ops::RangeInclusive;

use streamhouse_protocol::StrBytes;
use streamhouse_protocol::api_key::ApiKey;
use streamhouse_protocol::messages::list_groups_response::ListedGroup;
use streamhouse_protocol::messages::{self, ListGroupsRequest, ListGroupsResponse};

use crate::api::{Handler, Lane, Reply, RequestContext};
use crate::error_code::Refusal;
use crate::reach::GroupReach;
use crate::security::{Operation, ResourceKind};

use super::words::text;

/// The handler.
#[derive(Debug)]
pub struct ListGroups;

impl Handler for ListGroups {
    const KEY: ApiKey = ApiKey::ListGroups;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
    const LANE: Lane = Lane::Ordered;
    const OPERATION: Option<(Operation, ResourceKind)> =
        Some((Operation::Describe, ResourceKind::Group));
    type Reach = GroupReach;
    type Request = ListGroupsRequest;
    type Response = ListGroupsResponse;

    async fn handle(
        reach: &GroupReach,
        cx: &RequestContext,
        request: ListGroupsRequest,
    ) -> Reply<ListGroupsResponse> {
        let listed = match reach.groups.list().await {
            Ok(listed) => listed,
            Err(error) => {
                let code = Refusal::from(&error).code();
                return Reply::now(ListGroupsResponse::default().with_error_code(code));
            }
        };
        let sees_all = reach.access.to_cluster(cx, Operation::Describe);
        let visible = listed.into_iter().filter(|listed| {
            let name = listed.group.as_str();
            (sees_all || reach.access.to_group(cx, Operation::Describe, name))
                && passes(&request.states_filter, listed.state.name())
                && passes(&request.types_filter, listed.group_type.name())
        });
        let groups = visible.map(|listed| {
            let mut group = ListedGroup::default()
                .with_group_id(messages::GroupId(text(listed.group.as_str())))
                .with_protocol_type(text(&*listed.protocol_type));
            if cx.api_version >= 4 {
                group = group.with_group_state(text(listed.state.name()));
            }
            if cx.api_version >= 5 {
                group = group.with_group_type(text(listed.group_type.name()));
            }
            group
        });
        Reply::now(ListGroupsResponse::default().with_groups(groups.collect()))
    }
}

fn passes(filter: &[StrBytes], name: &str) -> bool {
    filter.is_empty()
        || filter
            .iter()
            .any(|wanted| wanted.eq_ignore_ascii_case(name))
}
