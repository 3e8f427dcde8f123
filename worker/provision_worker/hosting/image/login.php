<?php
/**
 * Logs in as the first administrator whoever comes with a link that the API says is good; it says so once.
 */

add_action('init', function () {
    if (!isset($_GET['provision-login']) || !defined('PROVISION_API') || PROVISION_API === '') {
        return;
    }
    $token = is_string($_GET['provision-login']) ? $_GET['provision-login'] : '';
    $answer = preg_match('/^[0-9a-f]{64}$/D', $token) ? wp_remote_post(PROVISION_API . '/wpaas-login', array(
        'headers' => array('Content-Type' => 'application/json'),
        'body' => wp_json_encode(array('token' => $token, 'host' => strtolower($_SERVER['HTTP_HOST']))),
        'timeout' => 10,
        'redirection' => 0,
    )) : null;
    $admins = get_users(array('role' => 'administrator', 'orderby' => 'ID', 'number' => 1));
    if ($answer === null || is_wp_error($answer) || wp_remote_retrieve_response_code($answer) !== 204 || !$admins) {
        wp_die('This link was used, or is older than five minutes.', 'Log-in', array('response' => 403));
    }
    wp_set_auth_cookie($admins[0]->ID, false, true);
    wp_safe_redirect(admin_url());
    exit;
});
