<?php

declare(strict_types=1);

namespace Pusher;

use GuzzleHttp\Client;
use GuzzleHttp\Exception\ConnectException;
use GuzzleHttp\RequestOptions;

/**
 * As much of pusher/pusher-php-server 7 as Laravel's broadcast driver needs to publish. Written for the tests, since
 * Debian has no such package, after https://pusher.com/docs/channels/library_auth_reference/rest-api/.
 */
class Pusher
{
    private string $base;

    /**
     * @param array{host?: string, port?: int|string, scheme?: string} $options
     */
    public function __construct(
        private string $key,
        private string $secret,
        private string $appId,
        array $options = [],
    ) {
        $this->base = sprintf('%s://%s:%s', $options['scheme'], $options['host'], $options['port']);
    }

    /**
     * Publish an event to channels. `$params` are `socket_id` and `info`.
     *
     * @param array<int, string>|string $channels
     * @param array<string, string>     $params
     *
     * @throws ApiErrorException with what the API answered
     */
    public function trigger(array|string $channels, string $event, mixed $data, array $params = []): object
    {
        return $this->post('/events', [
            'name' => $event,
            'data' => json_encode($data, JSON_THROW_ON_ERROR),
            'channels' => array_values((array) $channels),
        ] + $params);
    }

    /**
     * @param array<string, mixed> $content
     */
    private function post(string $path, array $content): object
    {
        $path = "/apps/{$this->appId}{$path}";
        $body = json_encode($content, JSON_THROW_ON_ERROR);
        $query = [
            'auth_key' => $this->key,
            'auth_timestamp' => (string) time(),
            'auth_version' => '1.0',
            'body_md5' => md5($body),
        ];
        ksort($query);
        $signed = implode("\n", ['POST', $path, urldecode(http_build_query($query))]);

        try {
            $response = (new Client())->post($this->base . $path, [
                RequestOptions::QUERY => $query + ['auth_signature' => hash_hmac('sha256', $signed, $this->secret)],
                RequestOptions::BODY => $body,
                RequestOptions::HEADERS => ['Content-Type' => 'application/json'],
                RequestOptions::HTTP_ERRORS => false,
            ]);
        } catch (ConnectException $e) {
            throw new ApiErrorException($e->getMessage());
        }

        if ($response->getStatusCode() !== 200) {
            throw new ApiErrorException((string) $response->getBody(), $response->getStatusCode());
        }

        return json_decode((string) $response->getBody(), false, 512, JSON_THROW_ON_ERROR);
    }
}
