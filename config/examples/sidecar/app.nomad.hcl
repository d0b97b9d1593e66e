# A Nomad job whose task runs keepwell as its first process. Nomad takes the address out of service while /readyz says
# no, and restarts the task when /healthz does.
job "app" {
  group "app" {
    network {
      port "http" { to = 8080 }
      port "keepwell" { to = 9790 }
    }
    service {
      name = "app"
      port = "http"
      check {
        type     = "http"
        port     = "keepwell"
        path     = "/readyz"
        interval = "5s"
        timeout  = "2s"
      }
      check {
        type     = "http"
        port     = "keepwell"
        path     = "/healthz"
        interval = "10s"
        timeout  = "2s"
        check_restart { limit = 3 }
      }
    }
    task "app" {
      driver       = "docker"
      kill_timeout = "30s"
      config {
        image   = "registry.example/app-with-keepwell:1"
        command = "keepwell"
        args    = ["run", "-f", "/local/keepwell.yaml", "--exit-code-from", "app"]
        ports   = ["http", "keepwell"]
      }
      template {
        destination = "local/keepwell.yaml"
        data        = file("keepwell.yaml")
      }
    }
  }
}
