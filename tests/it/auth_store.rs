//! auth-service over HTTP. The cases run on SQLite and on PostgreSQL.

mod login;
mod outage;
mod sealed;
mod server;
mod users;

use server::Site;

/// Runs each case once on either database.
macro_rules! on_both_databases {
    ($($module:ident::$case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $case() {
                super::$module::$case(super::Site::on_sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $case() {
                super::$module::$case(super::Site::on_postgres().await).await;
            })*
        }
    };
}

on_both_databases! {
    login::the_administrator_of_the_first_start_logs_in,
    login::a_token_verifies_offline_with_the_published_key,
    login::an_unknown_user_and_a_wrong_password_get_the_same_answer,
    login::bad_requests_are_told_what_is_wrong_and_no_more,
    login::instances_with_one_key_file_and_one_database_are_one_service,
    login::a_burst_of_logins_leaves_the_service_responsive,
    users::only_an_administrator_creates_and_lists_users,
    users::beside_the_suite_token_the_users_token_has_a_header_of_its_own,
    users::of_two_creations_at_once_one_wins,
    users::passwords_are_taken_whole,
    users::a_list_is_cut_into_pages,
    sealed::a_requester_learns_the_key_and_reads_the_answer,
    sealed::a_wrong_password_is_told_in_clear,
    sealed::a_replaced_key_is_a_challenge_again,
    sealed::an_expired_or_altered_request_is_refused,
    sealed::a_replayed_request_is_useless_to_the_replayer,
}
