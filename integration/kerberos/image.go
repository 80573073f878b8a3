package kerberos

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// samples are a server and a client of GSSAPI.
var samples = []tool{{"gss-server", "krb5-gss-samples"}, {"gss-client", "krb5-gss-samples"}}

// Files returns what an image needs, in addition to a shell, for a KDC and for servers and clients of other people's making: by
// its path in the image the path here. All programs are in bin. Getaddrinfo asks DNS too if no nsswitch.conf forbids it.
func Files() (map[string]string, error) {
	programs := slices.Concat(tools, samples)
	if err := require(programs); err != nil {
		return nil, err
	}
	files, loaded := map[string]string{}, []string{}
	for _, t := range programs {
		path, err := Tool(t.name)
		if err != nil {
			return nil, err
		}
		files["bin/"+t.name], loaded = path, append(loaded, path)
	}
	// What is opened by name, and ldd does not show: the KDC's data base, where libkdb5 looks for it, and its event loop,
	// which libverto looks for in the directory that it lies in itself.
	plugins, err := filepath.Glob("/usr/lib/*/krb5/plugins/kdb/db2.so")
	if err != nil || len(plugins) != 1 {
		return nil, fmt.Errorf("db2.so of krb5-kdc is not where Debian has it: %q, %v", plugins, err)
	}
	libraries, err := needed(append(loaded, plugins...)...)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(libraries, func(path string) bool { return strings.HasPrefix(filepath.Base(path), "libverto.so") })
	if i < 0 {
		return nil, fmt.Errorf("krb5kdc does not need libverto, but %q", libraries)
	}
	loop := filepath.Join(filepath.Dir(libraries[i]), "libverto-libev.so.1")
	more, err := needed(loop)
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Concat(plugins, libraries, []string{loop}, more) {
		files[strings.TrimPrefix(path, "/")] = path
	}
	return files, nil
}

// needed returns the libraries that programs and libraries load, and the loader.
func needed(paths ...string) ([]string, error) {
	out, err := exec.Command("ldd", paths...).Output()
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", strings.Join(paths, " "), err)
	}
	if strings.Contains(string(out), "not found") {
		return nil, fmt.Errorf("ldd %s: %s", strings.Join(paths, " "), out)
	}
	var libraries []string
	for _, m := range regexp.MustCompile(`(?m)^\t(?:\S+ => )?(/\S+) \(0x`).FindAllStringSubmatch(string(out), -1) {
		libraries = append(libraries, m[1])
	}
	slices.Sort(libraries)
	return slices.Compact(libraries), nil
}
