<?php

declare(strict_types=1);

namespace Headgate\Laravel\Api;

use Headgate\Laravel\Exceptions\RequestFailed;
use Headgate\Laravel\Signing\Signer;
use Illuminate\Http\Client\ConnectionException;
use Illuminate\Http\Client\Factory;
use Illuminate\Http\Client\Response;

/**
 * Signed requests to Headgate's HTTP API. Redirects are not followed: a signature is for one place.
 */
final class Client
{
    /** Only what may be sent again without harm is sent here, so a request that got no answer is, once. */
    private const ATTEMPTS = 2;

    private const PAUSE_MICROSECONDS = 200_000;
    private const UNAVAILABLE = 503;

    public function __construct(
        private readonly Factory $http,
        private readonly Signer $signer,
        private readonly string $url,
        private readonly float $timeout,
    ) {
    }

    /**
     * @param array<string, string> $headers
     *
     * @throws RequestFailed when there is no answer, or only that the log is away
     */
    public function post(string $path, string $json, array $headers): Response
    {
        return $this->send('POST', $path, $json, $headers);
    }

    /**
     * @param array<string, int|string> $query
     *
     * @throws RequestFailed when there is no answer, or only that the log is away
     */
    public function get(string $path, array $query): Response
    {
        return $this->send('GET', $path . ($query === [] ? '' : '?' . http_build_query($query)), '', []);
    }

    /**
     * @param array<string, string> $headers
     */
    private function send(string $method, string $target, string $body, array $headers): Response
    {
        for ($attempt = 1;; $attempt++) {
            try {
                $response = $this->attempt($method, $target, $body, $headers);
                $problem = "Headgate's API answered " . $response->status();
                $cause = null;

                if ($response->status() !== self::UNAVAILABLE) {
                    return $response;
                }
            } catch (ConnectionException $error) {
                [$problem, $cause] = ["No answer from Headgate's API: {$error->getMessage()}", $error];
            }

            if ($attempt === self::ATTEMPTS) {
                throw new RequestFailed($problem, 0, $cause);
            }

            usleep(self::PAUSE_MICROSECONDS);
        }
    }

    /**
     * @param array<string, string> $headers
     */
    private function attempt(string $method, string $target, string $body, array $headers): Response
    {
        // Over the target as Headgate receives it: a path in the URL is for a proxy that takes it off.
        $request = $this->http
            ->withHeaders($headers + $this->signer->headers($method, $target, $body))
            ->acceptJson()
            ->withOptions(['allow_redirects' => false, 'timeout' => $this->timeout]);

        if ($body !== '') {
            $request = $request->withBody($body, 'application/json');
        }

        return $request->send($method, rtrim($this->url, '/') . $target);
    }
}
