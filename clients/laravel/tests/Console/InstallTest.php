<?php

declare(strict_types=1);

namespace Headgate\Laravel\Tests\Console;

use Headgate\Laravel\Console\EnvFile;
use Headgate\Laravel\HeadgateServiceProvider;
use Headgate\Laravel\Tests\TestCase;
use Illuminate\Filesystem\Filesystem;

final class InstallTest extends TestCase
{
    private string $folder;

    /** An application's folder of this test's own, without any configuration. */
    protected function setUp(): void
    {
        parent::setUp();

        $this->folder = sys_get_temp_dir() . '/headgate-install-' . bin2hex(random_bytes(4));
        mkdir("{$this->folder}/config", 0700, true);
        $this->app->useEnvironmentPath($this->folder);
        $this->app->setBasePath($this->folder);
        $this->app->instance('path.config', "{$this->folder}/config");
        // The provider names where it publishes to when it boots.
        (new HeadgateServiceProvider($this->app))->boot();
    }

    protected function tearDown(): void
    {
        (new Filesystem())->deleteDirectory($this->folder);

        parent::tearDown();
    }

    private function env(?string $text = null): string
    {
        if ($text !== null) {
            file_put_contents("{$this->folder}/.env", $text);
        }

        return file_get_contents("{$this->folder}/.env");
    }

    /** It writes the configuration, the driver and a secret, and leaves everything else alone. */
    public function testItSetsAnApplicationUp(): void
    {
        $this->env("APP_NAME=Shop\nBROADCAST_DRIVER=log\nREDIS_HOST=redis");

        $this->artisan('headgate:install')
            ->expectsOutput('    HEADGATE_LARAVEL_AUTHORIZE_PATH=/headgate/authorize')
            ->assertExitCode(0)
            ->run();

        $this->assertMatchesRegularExpression(
            '/^APP_NAME=Shop\nBROADCAST_DRIVER=headgate\nREDIS_HOST=redis\nHEADGATE_SECRET=[0-9a-f]{64}\n$/D',
            $this->env(),
        );
        $this->assertFileEquals(__DIR__ . '/../../config/headgate.php', "{$this->folder}/config/headgate.php");
    }

    /** Run again, it changes nothing: not the secret, not the published configuration. */
    public function testItCanBeRunTwice(): void
    {
        $this->env('');
        $this->artisan('headgate:install')->assertExitCode(0)->run();
        $first = $this->env();
        file_put_contents("{$this->folder}/config/headgate.php", '<?php return [];');

        $this->artisan('headgate:install')
            ->expectsOutput("{$this->folder}/.env has what it takes already.")
            ->assertExitCode(0)
            ->run();

        $this->assertSame($first, $this->env());
        $this->assertStringEqualsFile("{$this->folder}/config/headgate.php", '<?php return [];');
    }

    /** The driver's variable is the one that the application's configuration reads. */
    public function testItSetsTheVariableThatIsRead(): void
    {
        file_put_contents("{$this->folder}/config/broadcasting.php", "<?php env('BROADCAST_CONNECTION', 'null');");
        $this->env("HEADGATE_SECRET=kept\n");

        $this->artisan('headgate:install')->assertExitCode(0)->run();

        $this->assertSame("HEADGATE_SECRET=kept\nBROADCAST_CONNECTION=headgate\n", $this->env());
    }

    /** Without a .env it says so, and writes nothing. */
    public function testItNeedsAnEnvironment(): void
    {
        $this->artisan('headgate:install')->assertExitCode(1)->run();

        $this->assertFileDoesNotExist("{$this->folder}/config/headgate.php");
    }

    /** A variable is found as a whole, and values are taken as they are. */
    public function testVariablesAreFoundAsAWhole(): void
    {
        $file = new EnvFile("MY_SECRET=a\n#SECRET=b\nSECRET=\"c\"\r\n");

        $this->assertSame(['c', 'a', ''], [$file->get('SECRET'), $file->get('MY_SECRET'), $file->get('OTHER')]);
        $this->assertSame("MY_SECRET=a\n#SECRET=b\nSECRET=\$1\n", $file->with('SECRET', '$1')->text);
    }

    /** A variable is found in every form that the framework reads, and stays in its form. */
    public function testVariablesAreFoundInEveryForm(): void
    {
        $file = new EnvFile("export SECRET='a'\nDRIVER = log\n");

        $this->assertSame(['a', 'log'], [$file->get('SECRET'), $file->get('DRIVER')]);
        $this->assertSame(
            "export SECRET=b\nDRIVER = headgate\n",
            $file->with('SECRET', 'b')->with('DRIVER', 'headgate')->text,
        );
    }

    /** Where the configuration is cached nothing of this counts yet, which it says. */
    public function testACachedConfigurationIsNamed(): void
    {
        $this->env('');
        mkdir("{$this->folder}/bootstrap/cache", 0700, true);
        file_put_contents("{$this->folder}/bootstrap/cache/config.php", '<?php return [];');

        $this->artisan('headgate:install')
            ->expectsOutput('The configuration is cached, and stays as it was: run `php artisan config:clear`.')
            ->assertExitCode(0)
            ->run();
    }
}
