"""What a machine without internet needs to try everything out: a small GitLab, images, plugins, Go modules.

The product knows nothing of it: a runner in production is made without any of this.
"""
