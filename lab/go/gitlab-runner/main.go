// gitlab-runner from Go modules: GitLab Runner's own packages, put together without what no registry serves.
package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/sirupsen/logrus"
	"github.com/urfave/cli"

	"gitlab.com/gitlab-org/gitlab-runner/commands"
	"gitlab.com/gitlab-org/gitlab-runner/commands/helpers"
	"gitlab.com/gitlab-org/gitlab-runner/common"
	"gitlab.com/gitlab-org/gitlab-runner/executors"
	"gitlab.com/gitlab-org/gitlab-runner/executors/custom"
	"gitlab.com/gitlab-org/gitlab-runner/executors/docker"
	"gitlab.com/gitlab-org/gitlab-runner/executors/shell"
	clihelpers "gitlab.com/gitlab-org/gitlab-runner/helpers/cli"
	"gitlab.com/gitlab-org/gitlab-runner/log"
	"gitlab.com/gitlab-org/gitlab-runner/network"

	// The cache's back ends register themselves, and so do the shells that write jobs' scripts.
	_ "gitlab.com/gitlab-org/gitlab-runner/cache/s3v2"
	_ "gitlab.com/gitlab-org/gitlab-runner/shells"
)

// kubernetes.go fills it, where the program is built with it: that executor is a third of all that there is to compile.
var (
	elsewhere        = map[string]common.ExecutorProvider{}
	missingExecutors = []string{
		"instance", "docker-autoscaler", "docker+machine", "docker-windows", "ssh", "virtualbox", "parallels",
	}
)

// Told by --version, so that nobody takes this for the official program.
const missing = `Build:        from Go modules, not the official one
Executors:    %s
Not in it:    executors %s;
              commands wrapper, fleeting, steps, proxy-exec; caches in gcs and azure, UploadRoleARN;
              external secrets; job router; job inputs; run: steps; add-mask; billing events
`

func main() {
	// logrus.Panic has told what is wrong already; a trace of the stack on top of it would only hide that.
	defer func() {
		if failure := recover(); failure != nil {
			if _, logged := failure.(*logrus.Entry); logged {
				os.Exit(1)
			}
			panic(failure)
		}
	}()

	// Go's garbage collector keeps below the container's limit of memory, where there is one.
	memlimit.SetGoMemLimitWithEnv()
	app := newApp(providers())
	if err := app.Run(os.Args); err != nil {
		logrus.Fatal(err)
	}
}

func newApp(known executors.Providers) *cli.App {
	cli.VersionPrinter = func(*cli.Context) { fmt.Print(common.AppVersion.Extended() + told()) }
	app := cli.NewApp()
	app.Name = filepath.Base(os.Args[0])
	app.Usage = "a GitLab Runner, built from Go modules"
	app.Version = common.AppVersion.ShortLine()
	app.Commands = newCommands(known)
	app.CommandNotFound = func(_ *cli.Context, command string) {
		logrus.Fatalf("gitlab-runner built from Go modules has no command %q: see --help and --version", command)
	}
	clihelpers.LogRuntimePlatform(app)
	clihelpers.SetupCPUProfile(app)
	clihelpers.FixHOME(app)
	clihelpers.WarnOnBool(os.Args)
	log.ConfigureLogging(app)
	return app
}

func newCommands(known executors.Providers) []cli.Command {
	requests := network.NewAPIRequestsCollector()
	gitlab := network.NewGitLabClient(
		network.WithAPIRequestsCollector(requests),
		network.WithCertificateDirectory(commands.GetDefaultCertificateDirectory()),
		network.WithExecutorProviderFunc(known.GetByName),
	)
	own := []cli.Command{
		commands.NewLintCommand(),
		commands.NewListCommand(),
		commands.NewRegisterCommand(gitlab, known),
		commands.NewResetTokenCommand(gitlab),
		commands.NewRunCommand(gitlab, requests, known),
		commands.NewRunSingleCommand(gitlab, known),
		commands.NewUnregisterCommand(gitlab),
		commands.NewVerifyCommand(gitlab),
	}
	// The shell executor has no helper image: its jobs call this program for artifacts and caches.
	own = append(own,
		helpers.NewArtifactsDownloaderCommand(),
		helpers.NewArtifactsUploaderCommand(),
		helpers.NewCacheArchiverCommand(),
		helpers.NewCacheExtractorCommand(),
		helpers.NewCacheInitCommand(),
		helpers.NewHealthCheckCommand(),
		helpers.NewProbeURLCommand(),
		helpers.NewReadLogsCommand(),
		helpers.NewVerifyVersionCommand(),
	)
	return append(own, commands.NewServiceCommands()...)
}

func told() string {
	has, lacks := []string{"docker", "shell", "custom"}, missingExecutors
	if _, found := elsewhere[common.ExecutorKubernetes]; found {
		has = append(has, common.ExecutorKubernetes)
	} else {
		lacks = append([]string{common.ExecutorKubernetes}, lacks...)
	}
	return fmt.Sprintf(missing, strings.Join(has, ", "), strings.Join(lacks, ", "))
}

func providers() executors.Providers {
	program, err := os.Executable()
	if err != nil {
		logrus.Fatalf("where this program lies cannot be found out: %v", err)
	}
	known := map[string]common.ExecutorProvider{
		"custom": custom.NewProvider(program),
		"docker": docker.NewProvider(),
		"shell":  shell.NewProvider(program),
	}
	maps.Copy(known, elsewhere)
	return executors.NewProviderRegistry(known)
}
