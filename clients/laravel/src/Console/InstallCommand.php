<?php

declare(strict_types=1);

namespace Headgate\Laravel\Console;

use Headgate\Laravel\HeadgateServiceProvider;
use Illuminate\Console\Command;
use Illuminate\Contracts\Config\Repository;

/**
 * Sets an application up. It can be run again: what is there already is left as it is.
 */
final class InstallCommand extends Command
{
    protected $signature = 'headgate:install';

    protected $description = 'Set this application up for Headgate';

    public function handle(Repository $config): int
    {
        $path = $this->laravel->environmentFilePath();

        if (! is_file($path)) {
            $this->error("There is no {$path}: copy .env.example first.");

            return self::FAILURE;
        }

        $this->publish();
        $this->environment($path);

        if ($this->laravel->configurationIsCached()) {
            $this->warn('The configuration is cached, and stays as it was: run `php artisan config:clear`.');
        }

        $this->next($config);

        return self::SUCCESS;
    }

    private function publish(): void
    {
        $target = $this->laravel->configPath('headgate.php');

        if (is_file($target)) {
            $this->line("{$target} is there already.");

            return;
        }

        $this->callSilent('vendor:publish', [
            '--provider' => HeadgateServiceProvider::class,
            '--tag' => 'headgate-config',
        ]);
        $this->info("{$target} was written.");
    }

    private function environment(string $path): void
    {
        $before = new EnvFile((string) file_get_contents($path));
        $after = $before->with($this->driverVariable(), 'headgate');

        if ($after->get('HEADGATE_SECRET') === '') {
            $after = $after->with('HEADGATE_SECRET', bin2hex(random_bytes(32)));
        }

        if ($after->text === $before->text) {
            $this->line("{$path} has what it takes already.");

            return;
        }

        file_put_contents($path, $after->text);
        $this->info("{$path} was changed: {$this->driverVariable()}, HEADGATE_SECRET.");
    }

    /**
     * Laravel 11 gave the variable another name; an application that was upgraded keeps the one of its configuration.
     */
    private function driverVariable(): string
    {
        $path = $this->laravel->configPath('broadcasting.php');
        $configuration = is_file($path) ? (string) file_get_contents($path) : '';

        foreach (['BROADCAST_CONNECTION', 'BROADCAST_DRIVER'] as $name) {
            if (str_contains($configuration, $name)) {
                return $name;
            }
        }

        return version_compare($this->laravel->version(), '11', '>=') ? 'BROADCAST_CONNECTION' : 'BROADCAST_DRIVER';
    }

    private function next(Repository $config): void
    {
        $prefix = $config->get('headgate.routes.prefix');
        $this->line('');
        $this->line('Next: give Headgate the same HEADGATE_SECRET, and where this application is:');
        $this->line('');
        $this->line("    HEADGATE_LARAVEL_URL={$config->get('app.url')}");
        $this->line("    HEADGATE_LARAVEL_VERIFY_PATH=/{$prefix}/auth/verify");
        $this->line("    HEADGATE_LARAVEL_HANDLE_PATH=/{$prefix}/handle");
        $this->line("    HEADGATE_LARAVEL_EVENT_PATH=/{$prefix}/event");
        $this->line("    HEADGATE_LARAVEL_AUTHORIZE_PATH=/{$prefix}/authorize");
        $this->line('');
        $this->line('The URL is APP_URL. It has to be one that leads here from where Headgate runs, with its port:');
        $this->line('http://127.0.0.1:8000 for `php artisan serve`. No redirect is followed.');
        $this->line('');
        $this->line('Then `php artisan headgate:status` says what of Headgate this application reaches.');
    }
}
